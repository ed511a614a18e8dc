"""Orthogonal Procrustes: the rotation that best carries new embeddings onto old ones."""

from __future__ import annotations

import torch
from torch import Tensor

from clplat.parts.projections._base import Projection
from clplat.parts.projections._fitting import apply_matrix, checked_pairs, register_matrix

__all__ = ["Procrustes", "orthogonal_map"]


class Procrustes(Projection):
    """The orthogonal matrix closest to carrying new onto old: ``y = n(x R)``, R = U V' from SVD(X' Y).

    R minimises ``||X R - Y||_F`` over orthogonal matrices, so similarities among new embeddings stay exactly
    as they were. If the widths differ, the narrower side is padded with zeros; a wider new space is cut after
    the rotation, which loses what lies outside.

    With fewer pairs than dimensions many rotations fit equally well: the one nearest to the identity is
    taken, as the new model is a successor of the old one. A few pairs repair only the directions they span.

    Reference:
        Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 1966.

    Example:
        >>> new = torch.eye(2)
        >>> old = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        >>> projection = Procrustes()
        >>> projection.fit(new, old)
        >>> torch.allclose(projection(new), old)
        True
    """

    matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        register_matrix(self)

    def fit(self, new: Tensor, old: Tensor) -> None:
        """Fit R on N pairs, in float64.

        Raises:
            UserError: rows that are no pairs, none, or not finite.
        """
        with torch.inference_mode(False):
            x, y = checked_pairs(new, old, "the procrustes projection")
            self.matrix = orthogonal_map(x, y).to(self.matrix)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D_new) to (B, D_old) unit rows; UserError before `fit`."""
        return apply_matrix(x, self.matrix, "the procrustes projection")


def orthogonal_map(x: Tensor, y: Tensor) -> Tensor:
    """R (D_new, D_old) for float64 pairs x (N, D_new), y (N, D_old)."""
    wide = max(x.shape[1], y.shape[1])
    cross = torch.zeros(wide, wide, dtype=x.dtype)
    cross[: x.shape[1], : y.shape[1]] = x.T @ y
    # ||X R - Y||^2 + eps ||R - I||^2 is minimised by the SVD of X'Y + eps I: a tiny eps breaks the ties.
    norm = float(torch.linalg.matrix_norm(cross))
    u, _, vh = torch.linalg.svd(cross + (1e-9 * norm or 1.0) * torch.eye(wide, dtype=x.dtype))
    rotation: Tensor = (u @ vh)[: x.shape[1], : y.shape[1]]
    return rotation
