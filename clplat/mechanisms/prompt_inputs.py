"""Prompts whose vectors depend on the input, and several sets of vectors of which the mean counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.mechanisms.prompt_sources import Layered
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.prompt import TowerPrompt

__all__ = ["ByOwn", "ByReference", "Sets", "pairwise_cosine"]


class _Moved(Layered):
    """Vectors that a network of a feature moves, all by as much: ``v_m(x) = v_m + net(f(x) / |f(x)|)``.

    Args:
        source: the vectors.
        joint: width of the feature.
        width: of the vectors.
        narrow: the network has so many times fewer hidden units than the feature has numbers.
    """

    def __init__(self, source: Layered, joint: int, width: int, narrow: int = 16) -> None:
        super().__init__(source.depth, source.count, first=source.lowest, form=source.form)
        self.source, hidden = source, max(1, joint // narrow)
        self.net = nn.Sequential(nn.Linear(joint, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def at(self, number: int) -> Tensor:
        return self.source.at(number)

    def begin(
        self,
        own: ImageFeatures | TextFeatures | None,
        other: ImageFeatures | TextFeatures | None = None,
    ) -> TowerPrompt:
        seen = self._of(own, other)
        if seen is None:
            return self
        feature = normalize(seen.pooled.detach().to(next(self.net.parameters()).dtype), dim=-1)
        return _Shifted(self.source, self.net(feature))

    def _of(
        self, own: ImageFeatures | TextFeatures | None, other: ImageFeatures | TextFeatures | None
    ) -> ImageFeatures | TextFeatures | None:
        raise NotImplementedError


class ByReference(_Moved):
    """Moved by the picture that a text modifies; a text alone gets the vectors as they are."""

    reads_other: ClassVar[bool] = True

    def _of(
        self, own: ImageFeatures | TextFeatures | None, other: ImageFeatures | TextFeatures | None
    ) -> ImageFeatures | TextFeatures | None:
        return other


class ByOwn(_Moved):
    """Moved by the input's own feature, of the tower without a prompt."""

    wants: ClassVar[frozenset[str]] = POOLED

    def _of(
        self, own: ImageFeatures | TextFeatures | None, other: ImageFeatures | TextFeatures | None
    ) -> ImageFeatures | TextFeatures | None:
        return own


class _Shifted(Layered):
    """The vectors of one pass over B inputs, each moved by (B, W)."""

    def __init__(self, source: Layered, shift: Tensor) -> None:
        super().__init__(source.depth, source.count, first=source.lowest, form=source.form)
        self.source, self.shift = (source,), shift

    def at(self, number: int) -> Tensor:
        vectors: Tensor = self.source[0].at(number)
        return vectors + self.shift[:, None]


class Sets(TowerPrompt):
    """Several sets of vectors of one tower, a pass for each: the mean of their unit features is one vector.

    ``f = mean_k |f_k| * mean_k f_k / |f_k|``: the direction is that of the mean, the norm stays usual.

    Args:
        parts: the sets, which may differ in length, from the same layer on.
    """

    def __init__(self, parts: Sequence[TowerPrompt]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.length = max(part.length for part in parts)
        self.lowest = parts[0].lowest
        for part in parts:
            part.reserved = self.length

    @property
    def passes(self) -> Sequence[TowerPrompt]:
        parts: list[Any] = list(self.parts)
        return parts

    def joined(self, rows: Tensor) -> Tensor:
        mean: Tensor = rows.norm(dim=-1).mean(1, keepdim=True) * normalize(rows, dim=-1).mean(1)
        return mean

    def forward(self, layer: int) -> Tensor | None:
        longest: Any = max(self.passes, key=lambda one: one.length)
        vectors: Tensor | None = longest(layer)
        return vectors


def pairwise_cosine(rows: Tensor) -> Tensor:
    """The mean cosine (B,) between any two of the K features (B, K, D) of one input: how alike sets are.

    Example:
        >>> import torch
        >>> pairwise_cosine(torch.tensor([[[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [0.0, 1.0]]]))
        tensor([1., 0.])
    """
    unit, count = normalize(rows, dim=-1), rows.shape[1]
    sums = (unit @ unit.mT).sum((1, 2)) - count
    return sums / max(1, count * (count - 1))
