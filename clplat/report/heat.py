"""R as small tables of coloured numbers: one a method, all on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clplat.report.formats import number
from clplat.report.outcome import Runs

__all__ = ["Heat", "heat_maps"]


@dataclass(frozen=True)
class Square:
    """One cell: its number, its colours, and whether its domain was trained just now or comes later."""

    text: str
    paper: str
    ink: str
    state: str


@dataclass(frozen=True)
class Heat:
    """R of one method: rows are what was trained so far, columns what is measured.

    Args:
        says: the main thing in words.
    """

    title: str
    says: str
    columns: Sequence[str]
    lines: Sequence[tuple[str, Sequence[Square]]]


def heat_maps(rows: Sequence[Mapping[str, Any]], runs: Runs, primary: str) -> list[Heat]:
    """The heat maps of the rows that have measured something, means over their replicates."""
    tables = {row["label"]: runs.mean_table(row, primary) for row in rows}
    known = [value for table in tables.values() for line in table for value in line if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    maps = []
    for row in rows:
        table = tables[row["label"]]
        if not table:
            continue
        places = runs.positions([row])
        lines = [
            (
                "untrained" if i == 0 else f"+ {places[i - 1]}",
                [_square(value, low, high, i, j) for j, value in enumerate(line)],
            )
            for i, line in enumerate(table)
        ]
        maps.append(Heat(row["label"], _says(table, places, primary), places, lines))
    return maps


def _square(value: float | None, low: float, high: float, i: int, j: int) -> Square:
    state = "now" if j == i - 1 else "later" if j >= i else "seen"
    if value is None:
        return Square("–", "#ffffff", "#6b6b6b", state)
    paper = _colour((value - low) / (high - low) if high > low else 1.0, pale=state == "later")
    luminance = 0.299 * paper[0] + 0.587 * paper[1] + 0.114 * paper[2]
    return Square(
        number(value), "#{:02x}{:02x}{:02x}".format(*paper), "#fff" if luminance < 120 else "#222", state
    )


def _colour(share: float, *, pale: bool) -> tuple[int, int, int]:
    """Viridis without its darkest fifth; a domain that was not trained yet keeps a third of its colour."""
    from matplotlib import colormaps

    channels = colormaps["viridis"](0.2 + 0.8 * share)[:3]
    mixed = (0.35 * c + 0.65 if pale else c for c in channels)
    red, green, blue = (round(255 * float(c)) for c in mixed)
    return red, green, blue


def _says(table: Sequence[Sequence[float | None]], places: Sequence[str], primary: str) -> str:
    """Of every trained domain: its value right after its training and now; the greatest loss in words."""
    losses = []
    for j, place in enumerate(places[: len(table) - 1]):
        then, now = table[j + 1][j], table[-1][j]
        if then is not None and now is not None:
            losses.append((then - now, place, then, now))
    if not losses:
        return f"{primary}: no domain trained yet."
    loss, place, then, now = max(losses)
    if loss <= 0:
        return f"{primary}: no domain is below its value right after its training."
    return (
        f"{primary}: greatest loss on {place}, from {number(then)} right after its training to {number(now)}."
    )
