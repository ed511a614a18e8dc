"""All scores of a dear scorer from a few of its rows and columns (CUR decomposition)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["approximate", "item_factors"]


def item_factors(anchor_rows: Tensor, anchor_items: Tensor, tolerance: float = 1e-3) -> Tensor:
    """``U R`` (C, G): what turns the scores of a query with C anchor items into scores with all G items.

    ``U = pinv(R[:, anchors])`` of the scores R of anchor queries; singular values below ``tolerance`` times
    the largest are noise and count as zero.

    Args:
        anchor_rows: R (A, G), exact scores of A anchor queries with all items.
        anchor_items: (C,), the columns that a new query is scored with.
        tolerance: see there.

    Reference:
        Yadav et al., "Efficient Nearest Neighbor Search for Cross-Encoder Models using Matrix Factorization",
        EMNLP 2022, arXiv:2210.12579.
    """
    rows = anchor_rows.double()
    return torch.matmul(torch.linalg.pinv(rows[:, anchor_items], rtol=tolerance), rows)


def approximate(few: Tensor, factors: Tensor) -> Tensor:
    """Scores (Q, G) of all items, from those with the anchor items (Q, C) and `item_factors`.

    Exact where the scores of all queries have no more rank than the anchors.

    Example:
        >>> scores = torch.outer(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.5, 2.0]))
        >>> factors = item_factors(scores[:2], torch.tensor([0]))  # two anchor queries, one anchor item
        >>> approximate(scores[2:, :1], factors)
        tensor([[3.0000, 1.5000, 6.0000]], dtype=torch.float64)
    """
    return few.double() @ factors
