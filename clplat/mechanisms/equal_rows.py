"""Equal rows of a matrix: what a matrix product gives for one of them holds for all."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["first_of_equals", "same_for_equals"]


def first_of_equals(rows: Tensor) -> Tensor | None:
    """The first row (N,) that equals each row of a float32 matrix (N, D); None where no two are equal.

    Rows are compared by a sum of their bits in whole numbers, and those that it says are equal by themselves.

    Example:
        >>> first_of_equals(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, -0.0]]))
        tensor([0, 1, 0])
        >>> first_of_equals(torch.eye(2)) is None
        True
    """
    sums, order = torch.cat([_sums(block) for block in torch.split(rows, 1 << 14)]).sort(stable=True)
    if len(sums) < 2 or not (sums[1:] == sums[:-1]).any():
        return None
    starts = torch.cat([torch.ones(1, dtype=torch.bool), sums[1:] != sums[:-1]])
    first = torch.empty_like(order)
    first[order] = order[starts.nonzero()[:, 0]][starts.cumsum(0) - 1]
    moved = (first != torch.arange(len(first))).nonzero()[:, 0]
    wrong = moved[~(rows[moved] == rows[first[moved]]).all(1)]
    first[wrong] = wrong  # two rows of one sum by chance, or NaN
    return first


def same_for_equals(made: Tensor, first: Tensor | None) -> Tensor:
    """What was made of each row (N, ...), in place the same bits for equal ones; ``first`` is theirs.

    A matrix product may give two equal rows sums that differ in the last bit, as of their places; equal
    pictures would no longer tie.
    """
    if first is not None:
        moved = (first != torch.arange(len(first))).nonzero()[:, 0]
        made[moved] = made[first[moved]]
    return made


def _sums(rows: Tensor) -> Tensor:
    """A whole number for each row (N,): of its bits by odd factors, modulo 2^64; -0.0 counts as 0.0."""
    bits = (rows + 0.0).contiguous()
    bits = bits.view(torch.int64) if rows.shape[1] % 2 == 0 else bits.view(torch.int32).long()
    places = torch.arange(1, bits.shape[1] + 1)
    return (bits * (places * 0x9E3779B97F4A7C1 | 1)).sum(1)
