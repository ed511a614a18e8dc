"""Groups of trained tensors with a learning rate or a weight decay of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Group", "layer_decay", "relative_depths"]


@dataclass(frozen=True)
class Group:
    """Tensors that are optimized in their own way.

    Args:
        names: of the tensors, as in ``model.named_parameters()``.
        lr_factor: multiplies the learning rate that they would have.
        weight_decay: of the optimizer; that of the configuration unless given.
    """

    names: Sequence[str]
    lr_factor: float = 1.0
    weight_decay: float | None = None


def layer_decay(names: Sequence[str], factor: float) -> list[Group]:
    """Layer-wise decay of the learning rate: the lower a block of a tower, the slower it moves.

    ``lr_l = lr * factor^(L - l)`` for block l of L; what comes before the blocks has ``factor^(L + 1)``, what
    comes after them, and what is in no tower, the whole rate.

    Args:
        names: of the trained tensors; L is one more than the highest block among them.
        factor: between 0 and 1; 1 changes nothing.

    References:
        Clark et al. 2020 (ELECTRA), arXiv 2003.10555; Dong et al. 2022 (FT-CLIP), arXiv 2212.06138.

    Example:
        >>> names = ["backbone.model.visual.transformer.resblocks.1.ln_1.bias", "composer.gate"]
        >>> [(group.names, group.lr_factor) for group in layer_decay(names, 0.5)]
        [(['backbone.model.visual.transformer.resblocks.1.ln_1.bias'], 0.5)]
    """
    found: dict[float, list[str]] = {}
    for name, (depth, layers) in _depths(names).items():
        found.setdefault(factor ** (layers - depth), []).append(name)
    return [Group(own, rate) for rate, own in found.items()]


def relative_depths(names: Sequence[str]) -> dict[str, float]:
    """How far up its tower a tensor is: 0 before the blocks, 1 after them and outside the towers.

    Example:
        >>> names = [f"backbone.model.transformer.resblocks.{i}.ln_1.bias" for i in range(3)]
        >>> [*relative_depths([*names, "composer.gate"]).values()]
        [0.25, 0.5, 0.75, 1.0]
    """
    inside = {name: (depth + 1) / (layers + 1) for name, (depth, layers) in _depths(names).items()}
    return {name: inside.get(name, 1.0) for name in names}


def _depths(names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """The number of a tensor's block, and that of the blocks of its tower; of those before and in blocks."""
    depths = {name: depth for name in names if (depth := _depth(name)) is not None}
    layers: dict[bool, int] = {}
    for name, depth in depths.items():
        layers[_visual(name)] = max(layers.get(_visual(name), 0), depth + 1)
    return {name: (depth, layers[_visual(name)]) for name, depth in depths.items()}


def _visual(name: str) -> bool:
    return ".visual." in name


def _depth(name: str) -> int | None:
    """The number of a tensor's block, -1 before the blocks, None after them and outside the towers."""
    block = re.search(r"\.resblocks\.(\d+)\.", name)
    if block:
        return int(block.group(1))
    before = r"\.(conv1|class_embedding|positional_embedding|token_embedding|ln_pre|patch_embed)\b"
    return -1 if name.startswith("backbone.") and re.search(before, name) else None
