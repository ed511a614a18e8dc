"""Drift compensation: what moved between two model versions is taken back, or added to what is stored."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.errors import UserError
from clplat.mechanisms.drift import drift
from clplat.parts.projections._base import Pairs, Projection
from clplat.parts.projections._fitting import checked_pairs, register_matrix

__all__ = ["Drift"]


class Drift(Projection):
    """Moves rows by how far training examples moved: ``y = n(n(x) + drift(n(x)))``.

    The drift is the mean over examples of their difference in the two spaces, of all alike (QDC, one vector
    for all queries) or of those near a row (SDC, with a ``sigma``): `clplat.mechanisms.drift.drift`. A shift
    that all rows have in common is undone; of a rotation only as much as the examples near a row say.

    Args:
        moves: new queries go back into the old index, or stored vectors of the old index come to the new
            space, as prototypes do.
        pairs: the training data whose drift is measured.
        sigma: how far around a row examples count, in distances of unit rows; None: all of them alike.

    Raises:
        ValueError: a setting out of range.

    Reference:
        Goswami et al., "Query Drift Compensation: Enabling Compatibility in Continual Learning of Retrieval
        Embedding Models", CoLLAs 2025, arXiv:2506.00037; of what is stored: Yu et al., "Semantic Drift
        Compensation for Class-Incremental Learning", CVPR 2020, arXiv:2004.00440.

    Example:
        >>> old = torch.eye(2)
        >>> projection = Drift()
        >>> projection.fit(old + torch.tensor([0.5, 0.0]), old)
        >>> (projection.end - projection.start).tolist()
        [[-0.5, 0.0]]
    """

    undoes = "shift"
    start: Tensor
    end: Tensor

    def __init__(
        self,
        moves: Literal["queries", "gallery"] = "queries",
        pairs: Literal["queries", "pictures", "texts"] = "queries",
        sigma: Annotated[float | None, Float(0.05, 2.0, log=True)] = None,
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ("moves", moves, ("queries", "gallery")),
            ("pairs", pairs, ("queries", "pictures", "texts")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not '{value}'")
        if sigma is not None and not sigma > 0:
            raise ValueError(f"sigma must be above 0, not {sigma}")
        self.moves, self.pairs, self.sigma = moves, pairs, sigma
        # What the class says of the default.
        self.maps = "query" if moves == "queries" else "gallery"
        self.reads = frozenset({pairs})
        register_matrix(self, "start", "end")

    def learn(self, pairs: Pairs) -> None:
        """From the data that ``pairs`` names."""
        chosen = {"pictures": pairs.pictures, "texts": pairs.texts, "queries": pairs.queries}
        self.fit(*chosen[self.pairs]())

    def fit(self, new: Tensor, old: Tensor) -> None:
        """Keep the examples in both spaces; where all count alike, their means.

        Raises:
            UserError: rows that are no pairs, none, or not finite; spaces of different widths.
        """
        with torch.inference_mode(False):
            x, y = checked_pairs(new, old, "the drift projection")
            if x.shape[1] != y.shape[1]:
                raise UserError(
                    f"drift is a difference in one space: widths {x.shape[1]} and {y.shape[1]} have none: "
                    "use procrustes, ridge or linear"
                )
            start, end = (x, y) if self.moves == "queries" else (y, x)
            if self.sigma is None:
                start, end = start.mean(0, keepdim=True), end.mean(0, keepdim=True)
            self.start, self.end = start.to(self.start), end.to(self.end)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D) to unit rows of the other space; UserError before `fit`."""
        if self.start.numel() == 0:
            raise UserError("the drift projection is not fitted yet: call fit(new, old) or load a fitted one")
        if x.shape[-1] != self.start.shape[1]:
            raise UserError(
                f"the drift projection was fitted for embeddings of width {self.start.shape[1]}, "
                f"not {x.shape[-1]}"
            )
        rows = normalize(x.float(), dim=-1)
        return normalize(rows + drift(rows, self.start, self.end, self.sigma), dim=-1)
