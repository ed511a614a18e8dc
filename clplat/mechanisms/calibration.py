"""Whether stated uncertainty goes with errors: recall by bins of uncertainty, rank correlation, their fit."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["linear_fit", "ranks", "recall_by_uncertainty", "spearman"]


def ranks(values: Tensor) -> Tensor:
    """Ranks (N,) from 1, float64; equal values share the mean of theirs.

    Example:
        >>> ranks(torch.tensor([0.5, 0.1, 0.5])).tolist()
        [2.5, 1.0, 2.5]
    """
    order = values.double().sort().values
    below = torch.searchsorted(order, values.double())
    upto = torch.searchsorted(order, values.double(), right=True)
    return (below + 1 + upto).double() / 2


def spearman(x: Tensor, y: Tensor) -> float:
    """The rank correlation of two lists (N,); 0 where one of them is constant.

    Example:
        >>> spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([9.0, 4.0, 1.0]))
        -1.0
    """
    a, b = (ranks(values) - (len(values) + 1) / 2 for values in (x, y))
    spread = (a.square().sum() * b.square().sum()).sqrt()
    return float((a * b).sum() / spread) if spread > 0 else 0.0


def linear_fit(x: Tensor, y: Tensor) -> float:
    """R^2 of the line through (x, y), both (N,): their squared correlation; 0 where one is constant."""
    a, b = (values.double() - values.double().mean() for values in (x, y))
    spread = a.square().sum() * b.square().sum()
    return float((a * b).sum().square() / spread) if spread > 0 else 0.0


def recall_by_uncertainty(uncertainty: Tensor, right: Tensor, bins: int) -> Tensor:
    """The share of right answers (bins,) among queries in bins of equal size, the surest first.

    Args:
        uncertainty: (Q,); right: (Q,) whether a query is answered.
        bins: at most as many as there are queries.

    Reference:
        Upadhyay et al., "ProbVLM: Probabilistic Adapter for Frozen Vision-Language Models", ICCV 2023,
        arXiv:2307.00398: a calibrated model has a recall that falls from bin to bin (Spearman's -1).

    Example:
        >>> recall_by_uncertainty(torch.tensor([0.1, 0.4, 0.2, 0.3]), torch.tensor([1, 0, 1, 0]), 2).tolist()
        [1.0, 0.0]
    """
    ordered = right.double()[uncertainty.argsort(stable=True)]
    return torch.stack([some.mean() for some in ordered.tensor_split(min(bins, len(ordered)))])
