"""An entry read by source: one line each with its rows by budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sweeps.by_budget.cells import FROZEN, MIDDLE

__all__ = ["Line", "Row", "final", "flops", "front", "kept", "lines_of", "measured"]

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """An adapter or prompt on a stream.

    Args:
        name: of the source; same: of sources that are the same at some size.
        sized: budget -> what was measured; None -> its one size.
        equal: at equal FLOPs, where these needed other epochs.
    """

    name: str
    family: str
    same: Sequence[str]
    sized: Mapping[float | None, Row]
    equal: Row | None

    @property
    def middle(self) -> Row | None:
        """What stands for it: at the middle budget, or in its one size."""
        return self.sized.get(MIDDLE, self.sized.get(None))

    @property
    def best(self) -> float:
        return max(final(row) for row in self.sized.values())

    @property
    def paid(self) -> Row | None:
        """At equal FLOPs: the run that was made for it, or that of the middle budget, whose are equal."""
        return self.equal or (self.middle if self.middle and self.middle["trained"] else None)


def lines_of(entry: Mapping[str, Any]) -> list[Line]:
    """The lines of an entry, those that have run, best first."""
    rows: dict[str, list[Row]] = {}
    for row in measured(entry):
        rows.setdefault(row["source"], []).append(row)
    lines = []
    for name, own in rows.items():
        sized = {row["budget"]: row for row in own if not row["equal_flops"]}
        equal = next((row for row in own if row["equal_flops"]), None)
        same = dict.fromkeys(other for row in own for other in row["same"])
        if sized:
            lines.append(Line(name, own[0]["family"], [*same], sized, equal))
    return sorted(lines, key=lambda line: -line.best)


def measured(entry: Mapping[str, Any]) -> list[Row]:
    """The rows that have run."""
    return [row for row in entry["rows"] if "score" in row]


def final(row: Row) -> float:
    return float(row["score"]["mean"])


def kept(row: Row) -> float | None:
    """What is kept of the zero-shot scores, percent."""
    found = row["measures"]["zero_shot"]
    return None if found is None else float(found["mean"])


def flops(row: Row) -> float:
    return float(row["costs"]["training_flops"])


def front(points: Iterable[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Those (cost, value, name) that nothing equals at less cost, cheapest first.

    Example:
        >>> front([(3, 8, "c"), (1, 5, "a"), (2, 4, "b"), (4, 9, "d")])
        [(1, 5, 'a'), (3, 8, 'c'), (4, 9, 'd')]
    """
    found: list[tuple[float, float, str]] = []
    for point in sorted(points, key=lambda one: (one[0], -one[1])):
        if not found or point[1] > found[-1][1]:
            found.append(point)
    return found


def is_frozen(row: Row) -> bool:
    return bool(row["source"] == FROZEN)
