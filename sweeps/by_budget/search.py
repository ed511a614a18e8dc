"""The whole number at which a count that goes as a power of it is nearest to a goal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

__all__ = ["LARGEST", "nearest"]

#: Sizes are searched up to here.
LARGEST = 4096


def nearest(count: Callable[[int], int | None], start: int, goal: float) -> int | None:
    """The size whose count is nearest to the goal by ratio; None where the size changes nothing.

    Counts go as a power of the size, nearly; which one is told by the last two that were tried, and the size
    that it asks for is tried next. A size that is refused gives way to a power of two beside it.

    Args:
        count: size -> how many numbers are trained, None where it is refused.

    Example:
        >>> nearest(lambda size: 100 + 50 * size, 8, 1000), nearest(lambda size: 960 // size, 8, 300)
        (18, 3)
        >>> nearest(lambda size: 64 * size if size % 4 == 0 else None, 8, 2500), nearest(lambda size: 7, 8, 9)
        (32, None)
    """
    known: dict[int, int] = {}

    def tried(size: int) -> int | None:
        below: int = 1 << int(math.log2(size))
        beside = sorted((below, 2 * below), key=lambda power: abs(math.log(power / size)))
        for one in (size, *beside):
            if (found := count(one)) is not None:
                known[one] = found
                return one
        return None

    last, size = tried(max(start // 2, 1)), tried(start)
    size = tried(2 * start) if size in (None, last) else size
    for _ in range(8):
        if last is None or size is None or last == size or known[last] == known[size]:
            break
        power = math.log(known[size] / known[last]) / math.log(size / last)
        asked = math.log(size) + math.log(goal / known[size]) / power
        new = tried(round(math.exp(min(max(asked, 0.0), math.log(LARGEST)))))
        if new in (None, last, size):
            break
        last, size = size, new
    if len(set(known.values())) < 2:
        return None
    for beside in (-1, 1):
        tried(max(_best(known, goal) + beside, 1))
    return _best(known, goal)


def _best(known: Mapping[int, int], goal: float) -> int:
    return min(known, key=lambda size: (abs(math.log(known[size] / goal)), size))
