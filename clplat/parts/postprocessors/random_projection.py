"""Random features without the correlations of training data: second-order statistics in place of training."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float, Int
from clplat.parts.postprocessors._base import Banks, PostProcessor, Scored
from clplat.randomness import generator

__all__ = ["RandomProjection"]


class RandomProjection(PostProcessor):
    """Ranks by the cosines of decorrelated random features of queries and items.

    ``h(x) = relu(x W)`` with W (D, M) of normal numbers; G is the mean of ``h h^T`` over training data of the
    domains seen, composed queries and pictures in equal shares, and rows become
    ``(G + ridge tr(G) / M I)^(-1/2) h(x)``. RanPAC scores a class by ``h(x)^T (G + l I)^(-1) c``, c the sum
    of its examples' features; here every item is a class with one example, itself, and lengths are taken out.
    G is a sum over examples: where the towers are frozen it is the same in whatever order domains come.

    Args:
        width: M, random features.
        ridge: in units of the mean eigenvalue of G; large values leave the correlations.
        seed: of W.

    Raises:
        ValueError: a setting out of range.

    References:
        McDonnell et al. 2023 (RanPAC), Random Projections and Pre-trained Models for Continual Learning,
        arXiv 2307.02251.

    Example:
        >>> part = RandomProjection(width=4)
        >>> part.fit(Banks(torch.eye(3), torch.eye(3)))
        >>> queries, gallery = part.map(Scored(torch.eye(3)[:2]), Scored(torch.eye(3)))
        >>> (queries @ gallery.T).argmax(1)
        tensor([0, 1])
    """

    maps: ClassVar[bool] = True

    def __init__(
        self,
        width: Annotated[int, Int(64, 4096, log=True)] = 1024,
        ridge: Annotated[float, Float(0.001, 100.0, log=True)] = 1.0,
        seed: int = 0,
    ) -> None:
        if width < 1 or not ridge > 0:
            raise ValueError(f"width must be at least 1 and ridge above 0, not {width} and {ridge}")
        self.width, self.ridge, self.seed = width, ridge, seed
        self._apart: Tensor | None = None

    def fit(self, banks: Banks) -> None:
        """Take the correlations of random features over the banks, and what undoes them."""
        sides = [self._features(rows).double() for rows in (banks.queries, banks.pictures) if len(rows)]
        gram = torch.stack([side.T @ side / len(side) for side in sides]).mean(0)
        values, vectors = torch.linalg.eigh(gram)
        values = values.clamp(min=0)
        scales = (values + self.ridge * values.mean()).rsqrt()
        self._apart = ((vectors * scales) @ vectors.T).float()

    def map(self, queries: Scored, gallery: Scored) -> tuple[Tensor, Tensor]:
        """Unit rows (Q, M) and (G, M)."""
        assert self._apart is not None, "fit comes first"
        apart = self._apart
        q, g = (normalize(self._features(side.rows) @ apart, dim=1) for side in (queries, gallery))
        return q, g

    def _features(self, rows: Tensor) -> Tensor:
        weights = torch.randn(
            rows.shape[1], self.width, generator=generator(self.seed, "random features", rows.shape[1])
        )
        return (rows.float() @ weights).relu()
