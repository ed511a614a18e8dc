"""The blocks of open_clip's towers, which adapters of the house change."""

from __future__ import annotations

from typing import Any

from torch import nn

from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.stages import Tower

__all__ = ["blocks", "transformer", "which"]


def which(backbone: Backbone, towers: str) -> list[Tower]:
    """One tower or both.

    Raises:
        UserError: a tower has no blocks of CLIP.
    """
    found: list[Tower] = ["image", "text"] if towers == "both" else [towers]  # type: ignore[list-item]
    for tower in found:
        if getattr(backbone, f"{tower}_layers") is None:
            raise UserError(f"the {tower} tower of backbone '{backbone.name}' has no blocks of CLIP")
    return found


def transformer(backbone: Backbone, tower: Tower) -> Any:
    """What holds the blocks of a tower, as ``resblocks``."""
    text = getattr(backbone.model, "text", backbone.model)
    return (backbone.model.visual if tower == "image" else text).transformer


def blocks(backbone: Backbone, towers: str) -> list[list[str]]:
    """Names in ``backbone.model`` of the blocks of each tower that is asked for, without adapters."""
    names = {id(module): name for name, module in backbone.model.named_modules()}
    held: list[nn.ModuleList] = [transformer(backbone, tower).resblocks for tower in which(backbone, towers)]
    return [[f"{names[id(own)]}.{i}" for i in range(len(own))] for own in held]
