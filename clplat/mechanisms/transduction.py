"""Labels for a whole set of unlabelled pictures at once: their classes and their neighbours agree."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["neighbour_weights", "transduced"]


def neighbour_weights(rows: Tensor, count: int) -> Tensor:
    """Similarities (N, N), sparse, of each unit row (N, D) to its ``count`` nearest others; the rest is zero.

    In blocks: no full matrix of similarities is held.
    """
    places, values = [], []
    for start in range(0, len(rows), 1024):
        block = rows[start : start + 1024] @ rows.T
        block[torch.arange(len(block)), torch.arange(start, start + len(block))] = -torch.inf
        best, which = block.topk(min(count, len(rows) - 1), dim=1)
        own = torch.arange(start, start + len(block))[:, None].expand_as(which)
        places.append(torch.stack([own.flatten(), which.flatten()]))
        values.append(best.flatten())
    size = (len(rows), len(rows))
    return torch.sparse_coo_tensor(
        torch.cat(places, 1), torch.cat(values), size, check_invariants=False
    ).coalesce()


def transduced(
    rows: Tensor, shares: Tensor, *, neighbours: int = 3, rounds: int = 10, inner: int = 5, trust: float = 1.0
) -> Tensor:
    """Class distributions (N, C) of unlabelled rows that follow text, a Gaussian a class, and neighbours.

    Alternately: ``z_i ~ y_i^trust exp(log N(x_i | mu, s) / 50 + mean of z over neighbours, both ways)``,
    some times; means ``mu_c``, unit rows weighted by z; one variance for each dimension.

    Args:
        rows: (N, D), unit rows.
        shares: y (N, C), the text's distributions.
        neighbours: of each row.
        rounds: of all steps; inner: of the assignments in each.
        trust: power of what the text says.

    Reference:
        Zanella et al., "Boosting Vision-Language Models with Transduction" (TransCLIP), NeurIPS 2024,
        arXiv:2406.01837; the solver of GTA-CLIP.
    """
    x, y = rows.double(), shares.double()
    z, weights = y.clone(), neighbour_weights(x, neighbours)
    means = _first_means(x, z)
    variance = torch.full((x.shape[1],), 1.0 / x.shape[1], dtype=torch.float64)
    for step in range(rounds + 1):
        fit = _log_density(x, means, variance)
        for _ in range(inner):
            near = torch.sparse.mm(weights.t(), z) + torch.sparse.mm(weights, z)
            log = trust * y.log() + fit / 50.0 + near / (2 * neighbours)
            z = log.softmax(1)
        if step == rounds:
            break
        means = normalize(z.T @ x, dim=1)
        # sum_i sum_c z_ic (x_i - mu_c)^2 / N: z sums to one over classes.
        variance = (x.square().sum(0) - 2 * (means * (z.T @ x)).sum(0) + z.sum(0) @ means.square()) / len(x)
    return z


def _first_means(x: Tensor, z: Tensor, sure: int = 8) -> Tensor:
    """Of each class the rows that are most confidently of it, weighted by that."""
    best, which = z.topk(min(sure, len(z)), dim=0)
    return normalize(torch.einsum("kc,kcd->cd", best, x[which]), dim=1)


def _log_density(x: Tensor, means: Tensor, variance: Tensor) -> Tensor:
    """``-1/2 sum_d (x_d - mu_cd)^2 / s_d`` (N, C), without an (N, C, D) of differences."""
    scaled = means / variance
    squares = (x.square() / variance).sum(1, keepdim=True) + (means * scaled).sum(1)
    return -0.5 * (squares - 2 * x @ scaled.T)
