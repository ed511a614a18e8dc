"""Some of many, at even distances: which training data fits what learns after the towers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

__all__ = ["evenly"]

T = TypeVar("T")


def evenly(entries: Sequence[T], count: int) -> list[T]:
    """At most ``count`` entries, from the first on, whose distances differ by one at most.

    Example:
        >>> evenly(range(10), 4), evenly("abc", 5)
        ([0, 2, 5, 7], ['a', 'b', 'c'])
    """
    taken = min(count, len(entries))
    return [entries[i * len(entries) // taken] for i in range(taken)]
