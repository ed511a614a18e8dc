"""The inner product of unit rows: the cosine of two embeddings."""

from __future__ import annotations

from torch import Tensor

from clplat.parts.scorers._base import Scorer

__all__ = ["Dot"]


class Dot(Scorer):
    """One embedding for each query and item, compared by ``q . g``, their cosine.

    Example:
        >>> import torch
        >>> Dot().block(torch.eye(2), torch.tensor([[0.6, 0.8]]))
        tensor([[0.6000],
                [0.8000]])
    """

    approximable = True
    slack = 1e-5

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        return queries @ items.T

    def pairs(self, queries: Tensor, items: Tensor) -> Tensor:
        return (queries * items).sum(dim=1)
