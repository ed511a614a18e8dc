"""Policies that choose among the examples of an experience by what a model makes of them: coresets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn.functional import normalize

__all__ = ["CORESETS", "Coreset", "coverage", "gradients", "herding", "k_means", "kmeans", "mean_of_features"]


@dataclass(frozen=True)
class Coreset:
    """A policy: what it looks at of N examples, and how it orders the best of them.

    Args:
        wants: of each example: ``"features"`` (N, S, D), unit rows of S sides, as of query and target; or
            ``"gradients"`` (N, D) of the task's loss in the model's outputs.
        order: (what it wants, count, generator) -> the rows of up to ``count`` examples, the most wanted
            first: a share that shrinks later keeps the first.
    """

    wants: Literal["features", "gradients"]
    order: Callable[[Tensor, int, Generator], list[int]]


def herding(features: Tensor, count: int, draw: Generator | None = None) -> list[int]:
    """Examples whose mean stays nearest to the mean of all, one after the other.

    ``argmin_i |mu - (f_i + sum_{j chosen} f_j) / (k + 1)|`` over the examples that are not chosen yet.

    References:
        Welling 2009, Herding Dynamical Weights to Learn; Rebuffi et al. 2017 (iCaRL), arXiv 1611.07725.

    Example:
        >>> herding(torch.tensor([[[1.0, 0.0]], [[0.8, 0.6]], [[0.0, 1.0]]]), 2)
        [1, 2]
    """
    points = normalize(features.flatten(1), dim=1)
    mean, total = points.mean(0), torch.zeros_like(points[0])
    left = torch.ones(len(points), dtype=torch.bool)
    chosen: list[int] = []
    for k in range(1, min(count, len(points)) + 1):
        apart = ((total + points) / k - mean).norm(dim=1).masked_fill(~left, torch.inf)
        chosen.append(int(apart.argmin()))
        left[chosen[-1]] = False
        total = total + points[chosen[-1]]
    return chosen


def mean_of_features(features: Tensor, count: int, draw: Generator | None = None) -> list[int]:
    """The examples nearest to the mean of all, nearest first.

    References:
        Chaudhry et al. 2019 ("MoF"), arXiv 1902.10486, which takes the mean of each class.
    """
    points = normalize(features.flatten(1), dim=1)
    nearest: list[int] = (points - points.mean(0)).norm(dim=1).argsort(stable=True)[:count].tolist()
    return nearest


def k_means(
    points: Tensor, clusters: int, draw: Generator, rounds: int = 20, *, start: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from centres of k-means++, or from those given as ``start`` (K, D).

    Returns:
        The cluster of each of the (N, D) points, and the centres (K, D).

    References:
        Lloyd 1982; Arthur & Vassilvitskii 2007 (k-means++).
    """
    centres = points[torch.randint(len(points), (1,), generator=draw)] if start is None else start
    while len(centres) < clusters:
        apart = torch.cdist(points, centres).amin(1).square() + 1e-12
        centres = torch.cat([centres, points[torch.multinomial(apart, 1, generator=draw)]])
    nearest = torch.cdist(points, centres).argmin(1)
    for _ in range(rounds):
        own = torch.zeros(clusters, len(points), dtype=points.dtype).scatter_(0, nearest[None], 1.0)
        sizes = own.sum(1, keepdim=True)
        centres = torch.where(sizes > 0, own @ points / sizes.clamp(min=1), centres)
        before, nearest = nearest, torch.cdist(points, centres).argmin(1)
        if torch.equal(before, nearest):
            break
    return nearest, centres


def kmeans(features: Tensor, count: int, draw: Generator) -> list[int]:
    """The example nearest to each of ``count`` centres of k-means, those of large clusters first.

    References:
        Chaudhry et al. 2019 ("k-means"), arXiv 1902.10486, which keeps centres that move.
    """
    points = normalize(features.flatten(1), dim=1)
    count = min(count, len(points))
    nearest, centres = k_means(points, count, draw)
    apart = torch.cdist(centres, points)
    chosen: list[int] = []
    for centre in nearest.bincount(minlength=count).argsort(descending=True, stable=True).tolist():
        chosen.append(int(apart[centre].argmin()))
        apart[:, chosen[-1]] = torch.inf
    return chosen


def gradients(seen: Tensor, count: int, draw: Generator) -> list[int]:
    """Examples whose gradients point in different directions.

    The first is drawn; each next one has the smallest largest cosine to those chosen before.

    References:
        Aljundi et al. 2019 (GSS), Gradient based sample selection for online continual learning, arXiv
        1903.08671, whose greedy form decides as examples come, by gradients of all weights.
    """
    directions = normalize(seen, dim=1)
    chosen = [int(torch.randint(len(seen), (1,), generator=draw))]
    nearest = directions @ directions[chosen[0]]
    nearest[chosen[0]] = torch.inf
    while len(chosen) < min(count, len(seen)):
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, directions @ directions[chosen[-1]])
        nearest[chosen[-1]] = torch.inf
    return chosen[:count]


def coverage(features: Tensor, count: int, draw: Generator) -> list[int]:
    """Examples that keep the cross-covariance of both sides, found greedily (ClipCov).

    With ``s_ij`` the cosine of the first side of i and the second of j and V_i the cluster of i, the score is
    ``sum_{j in V_i} (s_ij + s_ji) / |V_i| + 2 s_ii + (second side of i . centre of V_i) / 2`` minus the mean
    similarity of both sides to the centres of other clusters. An example that is chosen takes
    ``(s_ij + s_ji) / |V_i|`` from the scores of its cluster. Clusters, sqrt(N) of them, are those of k-means
    over both sides, where the paper has classes of a zero-shot model.

    References:
        Joshi et al. 2024 (ClipCov), Data-Efficient Contrastive Language-Image Pretraining, arXiv 2403.12267.
    """
    left, right = (normalize(features[:, side], dim=1) for side in (0, -1))
    clusters = max(1, round(len(features) ** 0.5))
    own, _ = k_means(normalize(features.flatten(1), dim=1), clusters, draw)
    members = [(own == k).nonzero()[:, 0] for k in range(clusters)]
    to_left, to_right = (_to_centres(side, other, members) for side, other in ((right, left), (left, right)))
    outside = (to_left + to_right).scatter(1, own[:, None], 0.0)
    to_own = _to_centres(right, right, members).gather(1, own[:, None])[:, 0]
    scores = to_own / 2 - outside.sum(1) / max(clusters - 1, 1)
    pulls: list[Tensor] = []
    for rows in members:
        cross = left[rows] @ right[rows].T
        pulls.append((cross + cross.T) / max(len(rows), 1))
        scores[rows] += pulls[-1].sum(1) + 2 * cross.diagonal()
    chosen: list[int] = []
    for _ in range(min(count, len(features))):
        chosen.append(int(scores.argmax()))
        rows, pull = members[own[chosen[-1]]], pulls[own[chosen[-1]]]
        scores[rows] -= pull[:, rows == chosen[-1]][:, 0]
        scores[chosen[-1]] = -torch.inf
    return chosen


def _to_centres(points: Tensor, side: Tensor, members: list[Tensor]) -> Tensor:
    """Cosines (N, K) of points to the mean of a side over the members of each cluster."""
    centres = torch.stack([side[rows].sum(0) for rows in members])
    return points @ normalize(centres, dim=1).T


CORESETS: dict[str, Coreset] = {
    "herding": Coreset("features", herding),
    "kmeans": Coreset("features", kmeans),
    "mean": Coreset("features", mean_of_features),
    "gradients": Coreset("gradients", gradients),
    "coverage": Coreset("features", coverage),
}
