"""An entry read by composer: one line each with its rows by strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from clplat.measures import mean_of
from sweeps.under_change.cells import BLIND, STRATEGIES

__all__ = ["Line", "Row", "below_text", "change", "forgets", "lines_of", "over", "value_of"]

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A composer on a stream, with frozen or with trained towers.

    Args:
        name: of its recipe; same: of recipes that are the same here.
        rows: strategy -> what was measured; ``frozen`` alone where nothing was trained.
    """

    name: str
    same: Sequence[str]
    rows: Mapping[str, Row]

    @property
    def blind(self) -> bool:
        return self.name in BLIND

    @property
    def trained(self) -> list[Row]:
        return [self.rows[name] for name in STRATEGIES if name in self.rows]

    @property
    def untrained(self) -> float | None:
        return mean_of(row["more"]["untrained"] for row in self.rows.values())

    @property
    def final(self) -> float | None:
        """The mean over strategies, by which lines are sorted."""
        return mean_of(row["score"]["mean"] for row in self.rows.values())

    def mean(self, value: Callable[[Row], float | None]) -> float | None:
        """The mean over strategies of what was trained; None where nothing was."""
        return mean_of(value(row) for row in self.trained)


def lines_of(entry: Mapping[str, Any], towers: str) -> list[Line]:
    """The lines of an entry, those that have run, best first."""
    found: dict[str, dict[str, Row]] = {}
    same: dict[str, Sequence[str]] = {}
    for row in entry["rows"]:
        if row["towers"] == towers and "score" in row:
            found.setdefault(row["composer"], {})[row["strategy"]] = row
            same[row["composer"]] = row["same"]
    lines = [Line(name, same[name], rows) for name, rows in found.items()]
    return sorted(lines, key=lambda line: -(line.final or 0.0))


def forgets(row: Row) -> float | None:
    """Points of forgetting."""
    return value_of(row["measures"]["forgetting"])


def change(row: Row, after: str, before: str) -> float | None:
    """One of a row's further numbers less another."""
    a, b = row["more"][after], row["more"][before]
    return None if a is None or b is None else a - b


def below_text(row: Row) -> bool:
    """Whether a row ends below the text alone, in the same cell or by its own model."""
    difference, alone = row["difference"], row["more"]["text_alone"]
    return (difference is not None and difference["mean"] < 0) or (
        alone is not None and row["score"]["mean"] < alone
    )


def over(rows: Iterable[Row], value: Callable[[Row], float | None]) -> float | None:
    """The mean of a value over rows; None where none has it."""
    return mean_of(value(row) for row in rows)


def value_of(entry: Mapping[str, Any] | None) -> float | None:
    """The mean of a measure."""
    return None if entry is None else float(entry["mean"])
