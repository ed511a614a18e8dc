"""Weight inheritance: a smaller model begins with layers and channels of a larger one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from clplat.errors import UserError
from clplat.mechanisms.weight_space import leading
from clplat.models.backbone import Backbone

__all__ = ["inherited", "smaller_config"]


def smaller_config(
    large: Backbone,
    image: Mapping[str, int | None],
    text: Mapping[str, int | None],
    joint: int | None = None,
) -> dict[str, Any]:
    """open_clip's ``model_cfg`` of a model with fewer layers or smaller widths, of heads as wide.

    Args:
        large: whose configuration all else is.
        image, text: ``layers`` and ``width`` of each tower; None: those of the larger model.
        joint: width of the joint space.

    Raises:
        UserError: a size that is larger, or a width that whole heads do not fill.

    Example:
        >>> from clplat.testing import tiny_backbone
        >>> found = smaller_config(tiny_backbone(), {"layers": 1}, {"width": 24})
        >>> found["vision_cfg"]["layers"], found["text_cfg"]["width"], found["text_cfg"]["heads"]
        (1, 24, 1)
    """
    config = dict(large.model_cfg)
    for key, said, asked in (("vision_cfg", "image", image), ("text_cfg", "text", text)):
        tower = dict(config[key])
        head = int(tower.get("head_width", 64) if key == "vision_cfg" else tower["width"] // tower["heads"])
        for name, value in ((name, value) for name, value in asked.items() if value is not None):
            most = tower.get(name)
            if not isinstance(most, int):
                raise UserError(f"'{large.name}' has no {said} {name} to be made smaller")
            if value > most or (name == "width" and value % head):
                allowed = f"a multiple of {head} up to {most}" if name == "width" else f"up to {most}"
                raise UserError(f"{said} {name} is {value}; allowed: {allowed}")
            tower[name] = value
        if key == "text_cfg":
            tower["heads"] = tower["width"] // head
        config[key] = tower
    if joint is not None and joint > large.embed_dim:
        raise UserError(f"the joint width is {joint}; allowed: up to {large.embed_dim}")
    return {**config, "embed_dim": joint or large.embed_dim}


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
