"""The examples of an Avalanche data set: columns stay columns, everything else becomes a list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from clplat.data.examples import Example
from clplat.data.lazy import Joined, LazyExamples

__all__ = ["examples_in"]


def examples_in(data: Any) -> Sequence[Example]:
    """What ``data[i]`` gives for all i, by a sequence that is quick to index.

    Avalanche's indexing is slow and records are light, so that they become a list, once per experience. Of a
    domain whose examples are made when they are asked for, nothing is made; memories beside it are lists.
    """
    parts = list(_parts(getattr(data, "_flat_data", None)))
    if not any(isinstance(part, LazyExamples) for part in parts) or sum(map(len, parts)) != len(data):
        return [data[i] for i in range(len(data))]
    return parts[0] if len(parts) == 1 else Joined(parts)


def _parts(flat: Any) -> Iterator[Sequence[Example]]:
    """The sequences that Avalanche has put one behind the other, as far as they are whole and unchanged."""
    if flat is None:
        return
    changed = getattr(flat, "_transform_groups", None) or getattr(flat, "_frozen_transform_groups", None)
    inside = getattr(flat, "_datasets", None)
    if inside is not None and not changed and flat._indices is None:
        for part in inside:
            yield from _parts(part)
    elif isinstance(getattr(flat, "records", None), LazyExamples):
        yield flat.records
    else:
        yield [flat[i] for i in range(len(flat))]
