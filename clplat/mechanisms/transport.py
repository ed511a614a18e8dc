"""Optimal transport between two sets of vectors, as a score of how well they match."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["sinkhorn", "transported"]


@torch.no_grad()
def sinkhorn(cosines: Tensor, mine: Tensor, theirs: Tensor, epsilon: float = 0.1, steps: int = 50) -> Tensor:
    """Plans (..., K, L) that carry an even mass over one set to an even mass over the other.

    The plan of least ``sum T (1 - cos) - epsilon * entropy(T)``, by that many alternating scalings. The
    public code stops a whole batch at a mean error, so that a score depends on the others beside it.

    Args:
        cosines: (..., K, L) of the members.
        mine, theirs: (..., K) and (..., L), which members there are; the others get no mass.
        epsilon: of the entropy; a small one needs more steps.

    Example:
        >>> there = torch.ones(2, dtype=torch.bool)
        >>> sinkhorn(torch.eye(2), there, there).round(decimals=3)
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]])
    """
    members = mine[..., :, None] & theirs[..., None, :]
    # Relative to the best of all, which cancels: no row underflows before its scale is known.
    best = cosines.masked_fill(~members, -torch.inf).amax((-2, -1), keepdim=True)
    kernel = torch.where(members, ((cosines - best) / epsilon).exp(), 0.0)
    rows = mine / mine.sum(-1, keepdim=True).clamp(min=1)
    columns = theirs / theirs.sum(-1, keepdim=True).clamp(min=1)
    left, right = torch.ones_like(rows), torch.ones_like(columns)
    for _ in range(steps):
        left = rows / (kernel * right[..., None, :]).sum(-1).clamp(min=1e-30)
        right = columns / (kernel * left[..., :, None]).sum(-2).clamp(min=1e-30)
    return left[..., :, None] * kernel * right[..., None, :]


def transported(cosines: Tensor, mine: Tensor, theirs: Tensor, epsilon: float = 0.1) -> Tensor:
    """Scores (...) of two sets: ``sum_kl T_kl cos_kl`` with the plan T of `sinkhorn`, which gets no gradient.

    References:
        Chen et al., "PLOT: Prompt Learning with Optimal Transport for Vision-Language Models", ICLR 2023,
        arXiv:2210.01253.

    Example:
        >>> there = torch.ones(2, dtype=torch.bool)
        >>> transported(torch.tensor([[0.2, 0.9], [0.8, 0.1]]), there, there).round(decimals=3)
        tensor(0.8490)
    """
    score: Tensor = (sinkhorn(cosines, mine, theirs, epsilon) * cosines).sum((-2, -1))
    return score
