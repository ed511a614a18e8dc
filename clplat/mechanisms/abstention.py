"""Whether a query has an answer at all: a small head on scores, and what abstaining is worth."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["auroc", "best_scores", "coverage", "fitted_head"]


def best_scores(scores: Tensor) -> Tensor:
    """``[top score, its lead over the second]`` (Q, 2) of scores (Q, G), G >= 2; -inf are no candidates.

    Example:
        >>> best_scores(torch.tensor([[0.25, 1.0, 0.5]]))
        tensor([[1.0000, 0.5000]])
    """
    best = scores.topk(2, dim=1).values
    return torch.stack([best[:, 0], best[:, 0] - best[:, 1]], 1)


def auroc(answerable: Tensor, unanswerable: Tensor) -> float:
    """How often a query with an answer (N,) has the higher value than one without (M,); ties count half.

    Example:
        >>> auroc(torch.tensor([0.9, 0.4]), torch.tensor([0.5, 0.1]))
        0.75
    """
    order = unanswerable.double().sort().values
    below = torch.searchsorted(order, answerable.double()).double()
    upto = torch.searchsorted(order, answerable.double(), right=True).double()
    return float((below + upto).mean()) / (2 * len(order))


def coverage(certainty: Tensor, right: Tensor, share: float) -> float:
    """The share of right answers among the ``share`` of queries that are answered first, the surest.

    Args:
        certainty: (Q,); right: (Q,) whether the first answer is right.
        share: between 0 and 1, of queries that are answered.
    """
    count = max(1, round(share * len(certainty)))
    return float(right[certainty.argsort(descending=True, stable=True)[:count]].double().mean())


def fitted_head(features: Tensor, answerable: Tensor, ridge: float = 1e-2, rounds: int = 25) -> Tensor:
    """Weights (F + 1,), the bias last, of a logistic head on standardised features (N, F), by Newton's steps.

    Args:
        features: of training queries, each with and without its answer in the gallery.
        answerable: (N,) whether it was there.
        ridge: on the weights, so that separable features leave them finite.
        rounds: of Newton.

    Reference:
        Vardi et al., "CLIP-UP: CLIP-Based Unanswerable Problem Detection for Visual Question Answering",
        2025, whose few layers read CLIP's alignment of picture and question; this one reads the ranking.
    """
    x = torch.cat([features.double(), torch.ones(len(features), 1).double()], 1)
    scale = x.std(0, correction=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    x, y = x / scale, answerable.double()
    weights = torch.zeros(x.shape[1]).double()
    penalty = ridge * torch.eye(x.shape[1]).double()
    for _ in range(rounds):
        p = torch.sigmoid(x @ weights)
        slope = x.T @ (p - y) / len(x) + penalty @ weights
        curve = (x * (p * (1 - p))[:, None]).T @ x / len(x) + penalty
        weights = weights - torch.linalg.solve(curve, slope)
    return weights / scale
