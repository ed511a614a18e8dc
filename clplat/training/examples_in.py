"""The examples of an Avalanche data set: columns stay columns, everything else becomes a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clplat.data.examples import Example
from clplat.data.lazy import Chosen, Joined, LazyExamples

__all__ = ["examples_in"]


def examples_in(data: Any) -> Sequence[Example]:
    """What ``data[i]`` gives for all i, by a sequence that is quick to index.

    Avalanche's indexing is slow and records are light, so that they become a list, once per experience. Of a
    domain whose examples are made when they are asked for, nothing is made; memories beside it are lists.
    """
    found = _columns(getattr(data, "_flat_data", None))
    if found is not None and len(found) == len(data):
        return found
    return [data[i] for i in range(len(data))]


def _columns(flat: Any) -> Sequence[Example] | None:
    """What Avalanche has chosen and put one behind the other, where columns are among it, unchanged."""
    if isinstance(getattr(flat, "records", None), LazyExamples):
        held: LazyExamples = flat.records
        return held
    groups = (getattr(flat, name, None) for name in ("_transform_groups", "_frozen_transform_groups"))
    changed = any(change for held in groups if held is not None for change in held.transform_groups.values())
    inside = getattr(flat, "_datasets", ())
    parts = [_columns(part) for part in inside]
    if changed or all(part is None for part in parts):
        return None
    every = [
        [data[i] for i in range(len(data))] if part is None else part
        for data, part in zip(inside, parts, strict=True)
    ]
    joined = every[0] if len(every) == 1 else Joined(every)
    return joined if flat._indices is None else Chosen(joined, flat._indices)
