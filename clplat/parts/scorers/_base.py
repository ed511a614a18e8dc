"""The contract of a scorer: how much an item of the gallery answers a query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clplat.mechanisms.distributions import Distribution
from clplat.models.features import NOTHING, WANTS, ImageFeatures, TextFeatures
from clplat.models.view import Towers

__all__ = ["Scorer"]


class Scorer(nn.Module):
    """Makes one row of each query and item, and compares two rows; the constructor is the configuration.

    All that is stored, sent through the loss or ranked is a row (R,). A scorer of several vectors lays them
    side by side in one flat row, the same number for queries, pictures and texts: missing ones are zeros.
    """

    #: What it reads of a query's inputs, and of texts alone, beyond what the composer wants; of
    #: `clplat.models.features.WANTS`.
    wants: ClassVar[Mapping[str, frozenset[str]]] = {"image": NOTHING, "text": NOTHING}
    #: What it reads of an item's picture, beyond what the composer's target does.
    item_wants: ClassVar[frozenset[str]] = NOTHING
    #: What a composer may read of each input, where `query` does not hand on everything.
    composes: ClassVar[frozenset[str]] = WANTS
    #: A row is one vector of the joint space, which heads and projections can take.
    single: ClassVar[bool] = True
    #: A score is the inner product of two rows: a matrix product ranks, and approximate indexes can.
    approximable: ClassVar[bool] = False
    #: How far `block` may lie from `pairs`, which decide where that is too near; 0: they are the same bits.
    slack: float = 0.0

    def __init__(self) -> None:
        super().__init__()

    def attach(self, towers: Towers) -> None:
        """Create the layers for these towers, from torch's generator."""

    def query(
        self,
        image: ImageFeatures,
        text: TextFeatures,
        compose: Callable[[ImageFeatures, TextFeatures], Tensor],
    ) -> Tensor:
        """Rows (B, R) of composed queries; ``compose`` is the composer, features -> (B, D)."""
        return compose(image, text)

    def item(self, image: ImageFeatures, target: Callable[[ImageFeatures], Tensor]) -> Tensor:
        """Rows (B, R) of pictures; ``target`` is what the composer makes of them, features -> (B, D)."""
        return target(image)

    def text(self, text: TextFeatures) -> Tensor:
        """Rows (B, R) of texts."""
        return text.pooled

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores (Q, G) of all pairs of rows (Q, R) and (G, R), differentiable."""
        rows = torch.arange(len(queries), device=queries.device).repeat_interleave(len(items))
        others = torch.arange(len(items), device=items.device).repeat(len(queries))
        return self.pairs(queries[rows], items[others]).view(len(queries), len(items))

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores (P,) of query i with item i: the same bits for the same two rows, whatever stands beside."""
        raise NotImplementedError

    def distribution(self, rows: Tensor) -> Distribution | None:
        """What rows (N, R) say beside one vector: mean, scale and shape of each; None: they are points."""
        return None

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """Objectives of its own for a training step, weighted, as means over the examples of the batch."""
        return {}
