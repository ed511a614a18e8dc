"""A table as the page lays it out: columns, and rows of cells in label_text parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

__all__ = ["Cell", "Column", "Part", "Table", "numbers", "words"]


@dataclass(frozen=True)
class Column:
    """The head of a column.

    Args:
        title: what stands in it, with the unit.
        kind: ``name`` (the head of each row), ``number``, ``text``, ``bar`` or ``drawing``.
        drawing: a scale under the title.
    """

    title: str
    kind: str = "text"
    drawing: Markup | None = None


@dataclass(frozen=True)
class Cell:
    """One cell: text, a quieter note behind it, and a drawing or a bar (0 to 1 of the column's width)."""

    text: str
    note: str = ""
    drawing: Markup | None = None
    bar: float | None = None


@dataclass(frozen=True)
class Part:
    """Rows that belong together; a title sets them apart."""

    rows: Sequence[Sequence[Cell]]
    title: str = ""
    quiet: bool = False


@dataclass(frozen=True)
class Table:
    """A table with its caption; ``tall`` ones scroll on a screen and are whole on paper."""

    caption: str
    columns: Sequence[Column]
    parts: Sequence[Part] = field(default_factory=tuple)
    tall: bool = False


def words(*titles: str) -> list[Column]:
    """Columns of text, the first of which names the row."""
    return [Column(title, "name" if k == 0 else "text") for k, title in enumerate(titles)]


def numbers(*titles: str) -> list[Column]:
    """Columns of numbers."""
    return [Column(title, "number") for title in titles]
