"""Weight inheritance: a smaller model begins with layers and channels of a larger one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from clplat.errors import UserError
from clplat.mechanisms.weight_space import leading
from clplat.models.backbone import Backbone

__all__ = ["inherited"]


@torch.no_grad()
def inherited(large: Backbone, config: Mapping[str, Any]) -> Backbone:
    """A model of a smaller configuration with weights of a larger one, as TinyCLIP's manual inheritance.

    Of the larger model's layers those at equal distances are taken, the first and the last among them; of
    every tensor the leading block, so that whole heads are inherited.

    Args:
        large: a backbone without adapters.
        config: open_clip's ``model_cfg`` of the smaller model: fewer layers, smaller widths, as wide heads.

    Raises:
        UserError: something of the smaller model is larger, or there only.

    Reference:
        Wu et al., "TinyCLIP: CLIP Distillation via Affinity Mimicking and Weight Inheritance", ICCV 2023,
        arXiv:2309.12314.

    Example:
        >>> from clplat.testing import tiny_backbone
        >>> large = tiny_backbone()
        >>> towers = {name: {**large.model_cfg[name], "layers": 1} for name in ("vision_cfg", "text_cfg")}
        >>> inherited(large, {**large.model_cfg, **towers}).image_layers
        1
    """
    small = Backbone.random({"model_cfg": dict(config), "preprocess_cfg": large.preprocess_cfg}, seed=0)
    theirs = large.base_state()
    for key, own in small.base_state().items():
        source = _source(key, small, large)
        if source not in theirs:
            raise UserError(f"the smaller model has '{key}', the larger one has no '{source}'")
        own.copy_(leading(theirs[source], own))
    return small


def _source(key: str, small: Backbone, large: Backbone) -> str:
    """The name of the tensor that this one of the smaller model is taken from."""
    image = key.startswith("visual.")
    have, take = ((b.image_layers if image else b.text_layers) or 0 for b in (large, small))

    def layer(found: re.Match[str]) -> str:
        number = int(found[1])
        return f"resblocks.{round(number * (have - 1) / (take - 1)) if take > 1 else 0}."

    return re.sub(r"resblocks\.(\d+)\.", layer, key)
