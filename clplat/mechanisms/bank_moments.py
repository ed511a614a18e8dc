"""What a bank of embeddings says about its space: means, correlations, and dimensions out of line."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["covariance", "outlier_dimensions", "whitening"]


def covariance(rows: Tensor) -> Tensor:
    """The covariance (D, D) of rows (N, D) about their mean, over N, in float64."""
    wide = rows.double()
    wide = wide - wide.mean(0)
    return wide.T @ wide / len(rows)


def whitening(matrix: Tensor, ridge: float) -> Tensor:
    """The symmetric map (D, D) that takes a covariance C away: ``(C + ridge tr(C) / D I)^-1/2``.

    Args:
        matrix: C (D, D).
        ridge: in units of the mean eigenvalue; directions that a small bank does not have stay small.

    Example:
        >>> whitening(torch.diag(torch.tensor([4.0, 1.0])), ridge=0.0)
        tensor([[0.5000, 0.0000],
                [0.0000, 1.0000]], dtype=torch.float64)
    """
    values, vectors = torch.linalg.eigh(matrix.double())
    values = values.clamp(min=0)
    scales = (values + ridge * values.mean()).clamp(min=1e-12).rsqrt()
    return torch.matmul(vectors * scales, vectors.T)


def outlier_dimensions(mean: Tensor, deviations: float) -> Tensor:
    """Which dimensions (D,) of a mean embedding lie more than so many standard deviations from the mean.

    Reference:
        Luo et al., "Positional Artefacts Propagate Through Masked Language Model Embeddings", ACL 2021,
        arXiv:2011.04393: outlier neurons hold the extreme values of nearly every vector.

    Example:
        >>> outlier_dimensions(torch.tensor([0.1, -0.1, 0.0, 0.1, 5.0]), deviations=1.5).nonzero().tolist()
        [[4]]
    """
    wide = mean.double()
    away = (wide - wide.mean()).abs()
    return torch.gt(away, deviations * wide.std(correction=0))
