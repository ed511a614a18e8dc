"""Which texts go through a tower together: equal ones once, short ones apart from long ones."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["by_length", "distinct", "worthwhile"]


def distinct(names: Sequence[str]) -> tuple[list[int], list[int]]:
    """Positions of the first of each name, and for every name its place among those.

    Example:
        >>> distinct(["longer", "in red", "longer"])
        ([0, 1], [0, 1, 0])
    """
    place: dict[str, int] = {}
    first: list[int] = []
    for i, name in enumerate(names):
        if name not in place:
            place[name] = len(first)
            first.append(i)
    return first, [place[name] for name in names]


def by_length(lengths: Sequence[int], bucket: int, limit: int) -> dict[int, list[int]]:
    """Positions by length, rounded up to a multiple of ``bucket`` and at most ``limit``; short ones first.

    Example:
        >>> by_length([5, 12, 7], bucket=8, limit=77)
        {8: [0, 2], 16: [1]}
    """
    groups: dict[int, list[int]] = {}
    for i, length in enumerate(lengths):
        groups.setdefault(min(-(-length // bucket) * bucket, limit), []).append(i)
    return dict(sorted(groups.items()))


def worthwhile(groups: dict[int, list[int]], least_tokens: float) -> dict[int, list[int]]:
    """Join groups with the next longer one until each that stands alone saves at least ``least_tokens``.

    A pass of its own costs a while, whatever its size: ten texts of a small model are not worth it.

    Example:
        >>> worthwhile({8: [0, 2], 16: [1], 40: [3]}, least_tokens=20)
        {16: [0, 2, 1], 40: [3]}
    """
    joined: dict[int, list[int]] = {}
    carried: list[int] = []
    lengths = list(groups)
    for i, length in enumerate(lengths):
        carried = carried + groups[length]
        if i + 1 == len(lengths) or len(carried) * (lengths[i + 1] - length) >= least_tokens:
            joined[length], carried = carried, []
    return joined
