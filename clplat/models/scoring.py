"""What a scorer is to parts that hold one."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

__all__ = ["Scores"]


class Scores(Protocol):
    """Compares rows that a retriever makes for it; `clplat.parts.scorers` has such parts."""

    def block(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores (Q, G) of all pairs of rows (Q, R) and (G, R)."""
        ...
