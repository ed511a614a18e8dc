"""Principal components of a batch, with gradients that are finite where components are equally large."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["leading_part"]


def leading_part(rows: Tensor, count: int) -> Tensor:
    """Rows (N, D) rebuilt from the ``count`` leading principal components of the batch, with its mean.

    The gradient goes through the components as well. It is that of the subspace they span, which exists
    wherever the last component that is kept is larger than the first that is not. That of single
    eigenvectors, which differentiating an eigendecomposition gives, is infinite wherever two are equal. With
    as many components as rows, less one, nothing is lost.

    Example:
        >>> rows = torch.tensor([[1.0, 0.1], [-1.0, 0.1], [2.0, 0.0], [-2.0, -0.2]])
        >>> torch.allclose(leading_part(rows, 2), rows, atol=1e-5)
        True
    """
    mean = rows.mean(dim=0)
    centred = rows - mean
    if count >= len(rows):
        return rows
    # Of N rows the N x N products: the rows' own subspace, which is smaller than that of the columns.
    projector: Any = _Projector.apply(centred @ centred.T, count)
    out: Tensor = projector @ centred + mean
    return out


class _Projector(torch.autograd.Function):
    """The projector (N, N) onto the eigenvectors of the largest eigenvalues of a symmetric matrix."""

    @staticmethod
    def forward(ctx: Any, products: Tensor, count: int) -> Tensor:
        values, vectors = torch.linalg.eigh(products)
        ctx.save_for_backward(values, vectors)
        ctx.count = count
        kept: Tensor = vectors[:, -count:]
        return kept @ kept.T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        values, vectors = ctx.saved_tensors
        kept, lost = vectors[:, -ctx.count :], vectors[:, : -ctx.count]
        gaps = values[-ctx.count :, None] - values[None, : -ctx.count]
        # Equal ones may be exchanged: where rows have fewer dimensions than components, both are zero.
        tiny = torch.finfo(values.dtype).eps * values[-1].abs().clamp_min(1e-30) * len(values)
        inverse = torch.where(gaps > tiny, 1 / gaps.clamp_min(tiny), torch.zeros_like(gaps))
        slope = (grads[0] + grads[0].T) / 2
        inner = (kept.T @ slope @ lost) * inverse
        found = kept @ inner @ lost.T
        return found + found.T, None
