"""How far vectors that are stored have drifted, from examples of now that two versions of a model embed."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["drift"]


def drift(rows: Tensor, start: Tensor, end: Tensor, sigma: float | None = None) -> Tensor:
    """How far each row moves when the examples around it move from ``start`` to ``end`` (R, D).

    ``drift(r) = sum_i w_i (end_i - start_i) / sum_i w_i`` with ``w_i = exp(-|r - start_i|^2 / (2 sigma^2))``.
    Without a sigma all examples weigh the same, and every row moves by their mean.

    Args:
        rows: (R, D), in the space of ``start``; without a sigma they are not looked at.
        start: (N, D), examples by one version of a model.
        end: (N, D), the same examples by another version.
        sigma: how far around a row examples count, in distances of rows.

    References:
        Yu et al. 2020 (SDC), Semantic Drift Compensation for Class-Incremental Learning, arXiv 2004.00440,
        for prototypes; Goswami et al. 2025 (QDC), arXiv 2506.00037, for queries, with the plain mean.

    Example:
        >>> start, end = torch.tensor([[0.0], [4.0]]), torch.tensor([[1.0], [4.0]])
        >>> drift(torch.tensor([[0.0], [4.0]]), start, end, sigma=0.5).flatten().round(decimals=2)
        tensor([1., 0.])
        >>> drift(torch.tensor([[0.0]]), start, end)
        tensor([[0.5000]])
    """
    moved = end - start
    if sigma is None:
        return moved.mean(0).expand(len(rows), -1)
    distances = torch.cdist(rows, start, compute_mode="donot_use_mm_for_euclid_dist").square()
    # Far from all examples every weight is 0 in floating point, but not their ratios.
    return (-distances / (2 * sigma**2)).softmax(1) @ moved
