"""A table as the page lays it out: columns that know their cells, and rows in named parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

__all__ = ["Cell", "Column", "Part", "Table"]


@dataclass(frozen=True)
class Cell:
    """One cell: text, a quieter note behind it, and a drawing or a bar (0 to 1 of the column's width)."""

    text: str
    note: str = ""
    drawing: Markup | None = None
    bar: float | None = None


@dataclass(frozen=True)
class Column:
    """A column.

    Args:
        title: what stands at its head, with the unit.
        of: its cell in a row; text alone is enough.
        kind: ``name`` (the head of each row), ``number``, ``text``, ``bar`` or ``drawing``.
        drawing: a scale under the title.
    """

    title: str
    of: Callable[[Any], Cell | str]
    kind: str = "text"
    drawing: Markup | None = None

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
    """A table with its caption; ``tall`` ones scroll on a screen and are whole on paper."""

    caption: str
    columns: Sequence[Column]
    parts: Sequence[Part]
    tall: bool = False
