"""Which experience a record belongs to: by a tag, or by a time that is cut into parts."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clplat.data.records import Example, Query
from clplat.errors import UserError, nearest

__all__ = ["Deal", "by_tag", "by_time"]

_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


@dataclass(frozen=True)
class Deal:
    """Names of experiences in order, and that of every training example and of every query."""

    names: tuple[str, ...]
    examples: tuple[str, ...]
    queries: tuple[str, ...]


def by_tag(examples: Sequence[Example], queries: Sequence[Query], tag: str) -> Deal:
    """An experience for each value of a tag, in the order in which training data have them.

    Raises:
        UserError: a record without this tag.
    """
    learnt = tuple(_of_example(example, tag) for example in examples)
    asked = tuple(_of_query(query, tag) for query in queries)
    return Deal(tuple(dict.fromkeys(learnt + asked)), learnt, asked)


def by_time(examples: Sequence[Example], queries: Sequence[Query], tag: str, parts: int) -> Deal:
    """Equally many training examples in each of ``parts`` spans; equal times stay together.

    Times are numbers, or texts that sort as they should, such as ``2024-05-31``.

    Raises:
        UserError: a record without this tag, or fewer different times than parts.
    """
    learnt = [_of_example(example, tag) for example in examples]
    asked = [_of_query(query, tag) for query in queries]
    numbers = all(map(_NUMBER.fullmatch, learnt + asked))
    at = {time: (float(time) if numbers else 0.0, time) for time in learnt + asked}
    times = sorted(at[time] for time in learnt or asked)
    ends = sorted({times[(part + 1) * len(times) // parts - 1] for part in range(parts)})
    if len(ends) < parts:
        raise UserError(
            f"tag '{tag}' does not give {parts} parts with data of their own; it gives {len(ends)}"
        )
    # What is asked later than anything was learnt belongs to the last part.
    place = {time: min(bisect_left(ends, when), parts - 1) for time, when in at.items()}
    names = []
    for part in range(parts):
        inside = sorted({time for time in learnt or asked if place[time] == part}, key=at.__getitem__)
        names.append(inside[0] if inside[0] == inside[-1] else f"{inside[0]} to {inside[-1]}")
    return Deal(tuple(names), *(tuple(names[place[time]] for time in each) for each in (learnt, asked)))


def _of_example(example: Example, tag: str) -> str:
    return _value(tag, {**example.extra, **example.groups}, f"training example '{example.id}'")


def _of_query(query: Query, tag: str) -> str:
    return _value(tag, {**query.extra, **query.tags}, f"query '{query.id}'")


def _value(tag: str, known: dict[str, Any], what: str) -> str:
    value = known.get(tag)
    if not isinstance(value, str | int | float) or not str(value).strip():
        has = ", ".join(sorted(known)) or "none"
        raise UserError(f"{what} has no tag '{tag}'{nearest(tag, list(known))} (it has: {has})")
    return str(value)
