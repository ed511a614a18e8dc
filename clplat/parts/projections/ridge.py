"""Ridge regression from new embeddings to old ones."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.errors import UserError
from clplat.parts.projections._base import Projection
from clplat.parts.projections._fitting import apply_matrix, checked_pairs, register_matrix

__all__ = ["Ridge"]


class Ridge(Projection):
    """The linear map of least squared error: ``y = n(x W)``, ``W = W_0 + (X'X + lam I)^-1 X'(Y - X W_0)``.

    W minimises ``||X W - Y||^2 + lam ||W - W_0||^2``. Unlike Procrustes it may stretch and mix, so it fits
    more and does not keep the similarities among new embeddings.

    Args:
        alpha: strength, relative to the data: ``lam = alpha trace(X'X) / D_new``, which is alpha N / D_new
            for unit rows, so that one value serves any number of pairs. Choose it on validation data.
        toward: W_0, what few pairs shrink to. ``"identity"`` (cut or padded with zeros where widths differ)
            suits a successor of the old model; ``"zero"`` is plain ridge regression, whose outputs lie in the
            span of the old pairs, so that fewer pairs than dimensions collapse it.

    Raises:
        ValueError: alpha is not above 0.

    Reference:
        Hoerl and Kennard, "Ridge Regression: Biased Estimation for Nonorthogonal Problems", Technometrics,
        1970.

    Example:
        >>> new, old = torch.eye(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> projection = Ridge(alpha=1e-6)
        >>> projection.fit(new, old)
        >>> torch.allclose(projection(new), old, atol=1e-4)
        True
    """

    matrix: Tensor

    def __init__(
        self,
        alpha: Annotated[float, Float(1e-4, 10.0, log=True)] = 0.1,
        toward: Annotated[Literal["identity", "zero"], Choice("identity", "zero")] = "identity",
    ) -> None:
        super().__init__()
        if not 0.0 < alpha < float("inf"):
            raise ValueError(f"alpha must be above 0, not {alpha}")
        if toward not in ("identity", "zero"):
            raise ValueError(f"toward must be 'identity' or 'zero', not '{toward}'")
        self.alpha = alpha
        self.toward = toward
        register_matrix(self)

    def fit(self, new: Tensor, old: Tensor) -> None:
        """Fit W on N pairs, in float64.

        Raises:
            UserError: rows that are no pairs, none, or not finite; new embeddings that are all zero.
        """
        with torch.inference_mode(False):
            x, y = checked_pairs(new, old, "the ridge projection")
            start = torch.zeros(x.shape[1], y.shape[1], dtype=x.dtype)
            if self.toward == "identity":
                start.fill_diagonal_(1.0)
            gram = x.T @ x
            lam = self.alpha * gram.diagonal().mean()
            if lam == 0:
                raise UserError("the ridge projection cannot be fitted: all new embeddings are zero")
            gram.diagonal().add_(lam)
            self.matrix = (start + torch.linalg.solve(gram, x.T @ (y - x @ start))).to(self.matrix)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, D_new) to (B, D_old) unit rows; UserError before `fit`."""
        return apply_matrix(x, self.matrix, "the ridge projection")
