"""No projection: the control that every other projection is compared with."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.parts.projections._base import Projection
from clplat.parts.projections._fitting import checked_pairs

__all__ = ["Identity"]


class Identity(Projection):
    """Leave embeddings where they are: ``y = n(x)``, n = division by the L2 norm.

    Needs no fit; `fit` only checks that the two spaces have one width.

    Example:
        >>> import torch
        >>> Identity()(torch.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """

    fitted = False

    def fit(self, new: Tensor, old: Tensor) -> None:
        """Check the pairs.

        Raises:
            UserError: rows that are no pairs or not finite, or spaces of different widths.
        """
        new, old = checked_pairs(new, old, "the identity projection")
        if new.shape[1] != old.shape[1]:
            raise UserError(
                f"the identity projection cannot map width {new.shape[1]} to {old.shape[1]}; "
                "use procrustes, ridge or linear"
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, D) unit rows."""
        return normalize(x, dim=-1)
