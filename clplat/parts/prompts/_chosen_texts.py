"""Prompts of the text tower beside a pool of the image tower: a text gets those that its picture gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.mechanisms.expert_scores import centres_of, distances
from clplat.models.features import POOLED, ImageFeatures, TextFeatures
from clplat.models.prompt import TowerPrompt

__all__ = ["ChosenTexts", "nearest_centres", "put_centres"]


class ChosenTexts(TowerPrompt):
    """Vectors of the text tower, as many prompts as a pool of pictures has, which its scores choose.

    A text that modifies a picture gets the prompts that this picture gets. A text alone goes by centres of
    the texts that each growth was made for. In training only what the newest growth brought is chosen.

    Args:
        scores: queries (B, D) of pictures -> how near they are to each prompt (B, M), of the pool.
        size: prompts of each growth.
        top: prompts that a text gets.
        words: vectors of each prompt.
        width: of the text tower.
        joint: width D of the space in which texts are compared with centres.
        centres: of the texts of each growth.
    """

    wants: ClassVar[frozenset[str]] = POOLED
    reads_other: ClassVar[bool] = True

    def __init__(
        self,
        scores: Callable[[Tensor], Tensor],
        *,
        size: int,
        top: int,
        words: int,
        width: int,
        joint: int,
        centres: int,
    ) -> None:
        super().__init__()
        self.scores, self.size, self.top, self.length = scores, size, top, top * words
        self.sizes, self.fits = (size, words, width, joint, centres), True
        self.grown = nn.ModuleList()

    def grow(self) -> bool:
        self.grown.requires_grad_(False)
        self.grown.append(_Grown(*self.sizes).to(next(self.parameters(), torch.empty(0))))
        return True

    def fit(self, features: Tensor) -> None:
        if len(features):
            put_centres(self._parts[-1].centres, features)

    def begin(
        self,
        own: ImageFeatures | TextFeatures | None,
        other: ImageFeatures | TextFeatures | None = None,
    ) -> TowerPrompt:
        assert own is not None
        asked = normalize((own if other is None else other).pooled.detach().float(), dim=-1)
        if other is None:
            scores = nearest_centres(asked, [part.centres for part in self._parts], self.size)
        else:
            scores = self.scores(asked)
        vectors = torch.cat([part.vectors for part in self._parts])
        if self.training:
            scores, vectors = scores[:, -self.size :], vectors[-self.size :]
        return _Chosen(vectors[scores.topk(self.top, dim=1).indices].flatten(1, 2))

    def forward(self, layer: int) -> Tensor | None:
        return None

    @property
    def _parts(self) -> list[Any]:
        return list(self.grown)


class _Grown(nn.Module):
    """What one growth adds: prompts (M, words, W) and centres of its texts (C, joint)."""

    def __init__(self, size: int, words: int, width: int, joint: int, centres: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.empty(size, words, width).normal_(std=0.02))
        self.register_buffer("centres", torch.zeros(centres, joint))


class _Chosen(TowerPrompt):
    """The vectors (B, P, W) of one pass."""

    def __init__(self, vectors: Tensor) -> None:
        super().__init__()
        self.vectors, self.length = vectors, vectors.shape[1]

    def forward(self, layer: int) -> Tensor | None:
        return self.vectors if layer == 0 else None


def put_centres(held: Tensor, features: Tensor) -> None:
    """Put k-means centres of features (N, D) in place of the held ones (C, D)."""
    centres = centres_of(normalize(features.float(), dim=-1), len(held))
    missing = len(held) - len(centres)  # fewer rows than centres: the last one again
    held.copy_(torch.cat([centres, centres[-1:].expand(missing, -1)]))


def nearest_centres(query: Tensor, centres: list[Tensor], size: int) -> Tensor:
    """How near queries (B, D) are to each growth's nearest centre, for its ``size`` prompts each: (B, M)."""
    found = [-distances(query, held, "manhattan").min(1).values for held in centres]
    return torch.stack(found, 1).repeat_interleave(size, 1)
