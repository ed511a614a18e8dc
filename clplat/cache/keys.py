"""Everything that determines the rows of a table: its key."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import torch

from clplat.cache.cuts import Cut
from clplat.models.backbone import Backbone
from clplat.provenance import library_versions

__all__ = ["Setting", "chunk_of", "table_key"]


@dataclass(frozen=True)
class Setting:
    """What a tower computes with: dtype (of autocast, where that is on), device and threads of the CPU."""

    precision: torch.dtype
    device: str
    threads: int  # they decide how sums are split

    @classmethod
    def now(cls, backbone: Backbone) -> Setting:
        scale = backbone.logit_scale
        device = scale.device.type
        cast = torch.is_autocast_enabled(device)
        precision = torch.get_autocast_dtype(device) if cast else scale.dtype
        return cls(precision, device, torch.get_num_threads() if device == "cpu" else 0)


def table_key(
    backbone: Backbone, what: str, cut: Cut, kind: str, setting: Setting, chunk: int
) -> dict[str, Any]:
    """The key of rows at a cut, all but how they are stored.

    Args:
        what: "image" or "text".
        kind: how pictures became pixels, or texts tokens.
        chunk: items per forward pass.
    """
    versions = library_versions()
    config = json.dumps(backbone.model_cfg, sort_keys=True, default=str)
    return {
        "what": what,
        "tap": str(cut),
        "from": kind,
        "content": cut.content,
        "config": hashlib.sha256(config.encode()).hexdigest(),
        "colours": [*backbone.mean, *backbone.std],
        "precision": str(setting.precision).removeprefix("torch."),
        "device": setting.device,
        "threads": setting.threads,
        "chunk": chunk,
        "libraries": {name: versions[name] for name in ("torch", "open_clip_torch", "peft")},
    }


def chunk_of(backbone: Backbone) -> int:
    """Items per forward pass when rows are made; part of what determines their bits.

    On a CPU sixteen pictures of a ViT-B/32 are as fast, each, as a hundred; of a tiny tower they are not.
    """
    if backbone.logit_scale.device.type != "cpu":
        return 256
    positions = len(getattr(backbone.model.visual, "positional_embedding", ()))
    flops = 24 * positions * (backbone.image_width or 0) ** 2 * (backbone.image_layers or 0)
    return 64 if 0 < flops < 1e9 else 16
