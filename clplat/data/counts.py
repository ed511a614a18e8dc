"""Counts of what was read, beside those that the source of a benchmark published."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["count_remarks", "differing"]

_SHOWN = 3


def differing(counts: Mapping[str, int], published: Mapping[str, int]) -> list[str]:
    """Names of the published counts that are not counted here, or differ.

    Example:
        >>> differing({"train": 12, "test": 5}, {"train": 12, "test": 6, "val": 2})
        ['test', 'val']
    """
    return [name for name, count in published.items() if counts.get(name) != count]


def count_remarks(counts: Mapping[str, int], published: Mapping[str, int]) -> list[str]:
    """A line that names the first counts that differ; nothing where a benchmark is whole.

    Example:
        >>> count_remarks({"train": 12}, {"train": 3000})
        ['this is not the whole published benchmark: train 12 of 3,000']
        >>> count_remarks({"train": 3000}, {"train": 3000})
        []
    """
    other = differing(counts, published)
    if not other:
        return []
    shown = ", ".join(f"{name} {counts.get(name, 0):,} of {published[name]:,}" for name in other[:_SHOWN])
    more = f", ... {len(other)} counts in all" if len(other) > _SHOWN else ""
    return [f"this is not the whole published benchmark: {shown}{more}"]
