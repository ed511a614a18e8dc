"""What a cloud of embeddings looks like, in numbers; all in float64."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["alignment", "drift", "hubness", "modality_gap", "uniformity"]


def modality_gap(images: Tensor, texts: Tensor) -> float:
    """The distance ``||mean(images) - mean(texts)||`` between two clouds (N, D) and (M, D) of unit rows.

    Reference:
        Liang et al., "Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation
        Learning", NeurIPS 2022, arXiv:2203.02053.
    """
    return float(torch.linalg.vector_norm(images.double().mean(0) - texts.double().mean(0)))


def alignment(x: Tensor, y: Tensor) -> float:
    """``mean ||x_i - y_i||^2`` of pairs (N, D) that belong together; 0 is best.

    Reference:
        Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity on
        the Hypersphere", ICML 2020, arXiv:2005.10242, with their alpha of 2.
    """
    return float((x.double() - y.double()).square().sum(1).mean())


def uniformity(x: Tensor) -> float:
    """``log mean_{i<j} exp(-2 ||x_i - x_j||^2)`` of rows (N, D), N >= 2; lower is more uniform.

    Reference: that of `alignment`, with their t of 2.
    """
    squares = torch.pdist(x.double()).square()
    return float(torch.logsumexp(-2.0 * squares, 0)) - math.log(len(squares))


def hubness(nearest: Tensor, size: int) -> float:
    """The skewness of how often each of ``size`` gallery rows is among the answers (Q, k) to all queries.

    ``E[(N - mean N)^3] / std(N)^3``; 0 where all are found equally often; -1 in ``nearest`` counts nowhere.

    Reference:
        Radovanovic et al., "Hubs in Space: Popular Nearest Neighbors in High-Dimensional Data", JMLR 2010.
    """
    counts = torch.bincount(nearest[nearest >= 0].flatten(), minlength=size).double()
    away = counts - counts.mean()
    deviation = away.square().mean().sqrt()
    return float(away.pow(3).mean() / deviation**3) if deviation > 0 else 0.0


def drift(now: Tensor, before: Tensor) -> float | None:
    """``mean (1 - cos(now_i, before_i))`` of the same pictures (N, D) by two versions.

    None where their spaces have unequal widths: nothing can be compared.
    """
    if now.shape[1] != before.shape[1]:
        return None
    # Half the squared distance of unit rows, which is exactly 0 for equal ones.
    moved = normalize(now.double(), dim=1) - normalize(before.double(), dim=1)
    return float(moved.square().sum(1).mean()) / 2
