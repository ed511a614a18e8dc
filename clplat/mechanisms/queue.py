"""Rows of earlier batches, the newest so many: more candidates than a batch has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["RowQueue", "alike"]


def alike(left: Sequence[str], right: Sequence[str]) -> Tensor:
    """Which are the same by name (n, N), bool; what has no name is like nothing.

    Example:
        >>> alike(["a", ""], ["a", ""]).tolist()
        [[True, False], [False, False]]
    """
    found = [[bool(one) and one == other for other in right] for one in left]
    return torch.tensor(found, dtype=torch.bool).reshape(len(left), len(right))


class RowQueue:
    """The newest rows (N, D), first in first out, without gradients.

    Args:
        size: rows at most.

    Example:
        >>> queue = RowQueue(3)
        >>> queue.add(torch.tensor([[1.0], [2.0]]))
        >>> queue.add(torch.tensor([[3.0], [4.0]]), ["c", "d"])
        >>> queue.rows.flatten().tolist(), queue.names
        ([2.0, 3.0, 4.0], ['', 'c', 'd'])
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a queue holds at least one row, not {size}")
        self.size = size
        self.rows: Tensor | None = None
        self.names: list[str] = []

    def behind(self, rows: Tensor) -> Tensor:
        """These rows, and those of the queue after them (n + N, D)."""
        return rows if self.rows is None else torch.cat([rows, self.rows.to(rows)])

    def add(self, rows: Tensor, names: Sequence[str] = ()) -> None:
        """The newest rows; the oldest leave.

        Args:
            rows: (n, D).
            names: what each is, where that is known.
        """
        rows, count = rows.detach(), len(rows)
        rows = rows if self.rows is None else torch.cat([self.rows.to(rows), rows])
        self.rows = rows[-self.size :].clone()
        self.names = [*self.names, *(names or [""] * count)][-self.size :]

    def bytes(self) -> int:
        return 0 if self.rows is None else self.rows.numel() * self.rows.element_size()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "names": self.names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self.names = state["rows"], list(state["names"])
