"""Settings of `clplat pretrain` that belong together, by name."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from .views import Views

__all__ = ["PRESETS", "TINY", "Precision", "Preset"]

Precision: TypeAlias = Literal["float32", "bfloat16"]

#: About a million parameters beside the vocabulary; small enough to train on two cores in minutes.
TINY: dict[str, Any] = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 48, "patch_size": 12, "width": 128, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 48, "vocab_size": 49408, "width": 48, "heads": 3, "layers": 4},
}
#: Three and a half million parameters beside the vocabulary: photographs, in an hour on two cores at most.
SMALL: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 64, "patch_size": 8, "width": 192, "layers": 6, "head_width": 64},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3},
}
#: The same with patches of 16 pixels: a step costs a quarter. For studies of hundreds of runs on photographs.
COARSE: dict[str, Any] = {**SMALL, "vision_cfg": {**SMALL["vision_cfg"], "patch_size": 16}}


@dataclass(frozen=True)
class Preset:
    """What is trained and how.

    Args:
        model_cfg: open_clip's.
        views: what is seen of a picture at each step, see `random_views`.
        precision: ``"bfloat16"`` where the CPU computes in it.
    """

    model_cfg: dict[str, Any]
    epochs: int
    batch_size: int
    lr: float
    views: Views = "shift"
    precision: Precision = "float32"


_SMALL = Preset(SMALL, epochs=24, batch_size=256, lr=1e-3, views="crop_flip", precision="bfloat16")
#: ``tiny`` made the shipped `clplat-tiny`; ``small`` and ``coarse`` are for real photographs.
PRESETS = {
    "tiny": Preset(TINY, epochs=16, batch_size=128, lr=2e-3),
    "small": _SMALL,
    "coarse": replace(_SMALL, model_cfg=COARSE),
}
