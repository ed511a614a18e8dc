"""How near an input is to an expert: to the centres, the subspace or the classifier that describe it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["centre_scores", "centres_of", "distances", "selector", "subspace_of", "subspace_scores"]

#: What is kept of an expert's training inputs for a classifier over experts, rows at most.
KEPT = 256


def centres_of(unit: Tensor, count: int) -> Tensor:
    """At most ``count`` unit centres (C, D) of unit rows (N, D), by spherical k-means.

    Lloyd's algorithm from evenly spaced rows: deterministic, and a few centres are enough. One centre is
    the mean direction, the key of the highest mean cosine with the rows: where pulling a key to them ends.
    """
    start = torch.linspace(0, len(unit) - 1, min(count, len(unit)), device=unit.device).long()
    centres = unit[start]
    for _ in range(10):
        nearest = (unit @ centres.T).argmax(1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, unit)
        centres = F.normalize(torch.where(sums.norm(dim=1, keepdim=True) > 0, sums, centres), dim=-1)
    return centres


def distances(unit: Tensor, centres: Tensor, kind: str) -> Tensor:
    """Distances (B, C) of unit rows to unit centres: ``cosine`` (1 - cos), ``euclidean`` or ``manhattan``."""
    if kind == "cosine":
        return 1 - unit @ centres.T
    return torch.cdist(unit, centres, p=2.0 if kind == "euclidean" else 1.0)


def centre_scores(distance: Tensor, by: str, spread: float) -> Tensor:
    """Scores (B,) from the distances (B, C) to one expert's centres, more being nearer.

    ``key`` and ``centroid``: -min d; ``energy``: s log sum exp(-d / s), the free energy with the sign turned,
    which is ``centroid`` for a small spread s; ``kernel``: sum exp(-d / s).
    """
    if by == "kernel":
        return (-distance / spread).exp().sum(1)
    if by == "energy":
        return spread * torch.logsumexp(-distance / spread, 1)
    return -distance.min(1).values


def subspace_of(unit: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The mean (D,) and the first ``size`` principal directions (K, D) of rows: a linear autoencoder."""
    mean = unit.mean(0)
    directions = torch.linalg.svd((unit - mean).double(), full_matrices=False).Vh
    return mean, directions[:size].to(unit)


def subspace_scores(unit: Tensor, mean: Tensor, directions: Tensor) -> Tensor:
    """Scores (B,): minus the squared error of reconstructing the rows from the subspace."""
    rest = unit - mean
    return -(rest - (rest @ directions.T) @ directions).square().sum(1)


def selector(rows: Sequence[Tensor], decay: float = 1e-3) -> Tensor:
    """The weights (N, D + 1) of a softmax classifier over N experts, the bias last.

    It minimises the cross-entropy, every expert counting as much as the others, plus ``decay`` times the
    squared norm, from zero, by L-BFGS in float64: the same rows give the same weights.

    Args:
        rows: inputs (M, D) of each expert.
    """
    with torch.inference_mode(False), torch.enable_grad():  # also where a model is asked for the first time
        x = torch.cat([F.pad(part.clone().double(), (0, 1), value=1.0) for part in rows])
        label = torch.cat([torch.full((len(part),), e) for e, part in enumerate(rows)]).to(x.device)
        share = torch.cat([torch.full((len(part),), 1 / len(part) / len(rows)) for part in rows]).to(x)
        weight = torch.zeros(len(rows), x.shape[1], dtype=x.dtype, device=x.device, requires_grad=True)
        optimizer: Any = torch.optim.LBFGS([weight], max_iter=50, line_search_fn="strong_wolfe")

        def closure() -> float:
            optimizer.zero_grad()
            entropy = F.cross_entropy(x @ weight.T, label, reduction="none") @ share
            loss: Any = entropy + decay * weight.square().sum()
            loss.backward()
            return float(loss.detach())

        optimizer.step(closure)
        return weight.detach().float()
