"""A table as the page lays it out: columns that know their cells, and rows in named parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from clplat.formats import number
from clplat.plots.styles import Style

__all__ = ["Axis", "Cell", "Column", "Interval", "Part", "Table"]


@dataclass(frozen=True)
class Axis:
    """A scale that all intervals of a column share, with round ticks; ``zero`` marks "no difference"."""

    low: float
    high: float
    ticks: tuple[float, ...]
    zero: bool = False

    @classmethod
    def over(cls, values: Iterable[float | None], zero: bool = False) -> Axis:
        """The axis over all known values.

        Example:
            >>> Axis.over([44.6, 52.1, None, 63.8]).ticks
            (45.0, 50.0, 55.0, 60.0)
        """
        from matplotlib.ticker import MaxNLocator

        known = [value for value in values if value is not None] + [0.0] * zero
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        if high - low < 1e-9:
            low, high = low - 1, high + 1
        ticks = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10], min_n_ticks=1).tick_values(low, high)
        return cls(low, high, tuple(round(float(t), 6) for t in ticks if low <= t <= high), zero)

    def at(self, value: float) -> float:
        """The place of a value from the left in a drawing that is 220 wide."""
        return round(12 + 196 * (value - self.low) / (self.high - self.low), 1)

    def tick_text(self, tick: float) -> str:
        return number(tick, 0 if all(value == int(value) for value in self.ticks) else 1)


@dataclass(frozen=True)
class Interval:
    """A mean and what surrounds it, drawn in the style of its method."""

    low: float | None
    mean: float
    high: float | None
    style: Style


@dataclass(frozen=True)
class Cell:
    """One cell: text, a quieter note behind it, an interval or a bar (0 to 1 of the column's width)."""

    text: str
    note: str = ""
    interval: Interval | None = None
    bar: float | None = None


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        title: what stands at its head, with the unit.
        of: its cell in a row; text alone is enough.
        kind: ``name`` (the head of each row), ``number``, ``text``, ``bar`` or ``drawing``.
        axis: of its intervals.
    """

    title: str
    of: Callable[[Any], Cell | str]
    kind: str = "text"
    axis: Axis | None = None

    def cell(self, row: Any) -> Cell:
        found = self.of(row)
        return Cell(found) if isinstance(found, str) else found


@dataclass(frozen=True)
class Part:
    """Rows that belong together; a title sets them apart."""

    rows: Sequence[Any]
    title: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its caption.

    Args:
        tall: it scrolls on a screen, and is whole on paper.
        stacked: on a phone each row is a block of lines, so that nothing is cut; others scroll sideways.
    """

    caption: str
    columns: Sequence[Column]
    parts: Sequence[Part]
    tall: bool = False
    stacked: bool = False
