"""Ways to store and compare rows that several heads share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.mechanisms.bits import nearest_sum, pack, signs_of, sum_of, unpack
from clplat.parts.heads._base import Side, View

__all__ = ["Codes", "Prefix"]


class Prefix(View):
    """The first ``dim`` numbers of a row, at unit length again; float32 at rest.

    Args:
        dim: how many.
        weight: of its term in the task's loss.
    """

    def __init__(self, dim: int, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.dim = dim

    def map(self, rows: Tensor, side: Side) -> Tensor:
        return normalize(rows[:, : self.dim], dim=-1)


class Codes(View):
    """Codes at about unit length, ``width * loops`` bits an item at rest; ties count against.

    Rows that are no codes, as projections give, are rounded to the nearest. Reciprocal lengths are rounded,
    of gallery rows to 8 bits or more and of queries, which no rank depends on, to 4: then a score of codes of
    up to 256 numbers in two loops is a sum without rounding, so that equal similarities tie exactly.

    Args:
        width: numbers of a code.
        loops: binary vectors of which one is the sum.
        unit: a row of the head is a code times this.
    """

    def __init__(self, width: int, loops: int, unit: float) -> None:
        super().__init__(tie_rule="against")
        self.width, self.loops, self.unit = width, loops, unit
        # A score is a whole number up to this, times both lengths; float32 has 24 bits for all three.
        largest = width * (2**loops - 1) ** 2
        self._bits: dict[Side, int] = {"query": 4, "gallery": max(8, 24 - largest.bit_length() - 4)}

    def map(self, rows: Tensor, side: Side) -> Tensor:
        code = nearest_sum(rows / self.unit, self.loops)
        soft = normalize(code, dim=-1)
        return soft - soft.detach() + self._shortened(code.detach(), side)

    def _shortened(self, code: Tensor, side: Side) -> Tensor:
        mantissa, exponent = torch.frexp(1.0 / code.norm(dim=1, keepdim=True))
        steps = 2.0 ** self._bits[side]
        return code * torch.ldexp((mantissa * steps).round() / steps, exponent)

    def store(self, rows: Tensor) -> Tensor:
        return pack(signs_of(rows / self.unit, self.loops).flatten(1))

    def load(self, stored: Tensor) -> Tensor:
        signs = unpack(stored, self.width * self.loops)
        return self._shortened(sum_of(signs.view(len(stored), self.loops, self.width)), "gallery")
