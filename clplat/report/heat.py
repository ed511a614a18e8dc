"""R as small tables of coloured numbers: one per method, all on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clplat.formats import number
from clplat.plots.heatmaps import Rows, colour_scale
from clplat.report.outcome import Row, Runs

__all__ = ["Heat", "heat_maps"]


@dataclass(frozen=True)
class Heat:
    """R of one method: rows are what was trained so far, columns what is measured.

    Args:
        says: the main thing in words.
        lines: of each row its name and its cells: text, colours of the cell and of its text, and whether the
            domain was trained ``now``, will be ``later``, or was ``seen`` before.
    """

    title: str
    says: str
    columns: Sequence[str]
    lines: Sequence[tuple[str, Sequence[tuple[str, str, str, str]]]]


def heat_maps(rows: Sequence[Row], runs: Runs, primary: str) -> list[Heat]:
    """The heat maps of the rows that have measured something, means over their replicates."""
    tables = {row["label"]: runs.mean_table(row, primary) for row in rows}
    colours = colour_scale([line for table in tables.values() for line in table])

    def cell(value: float | None, i: int, j: int) -> tuple[str, str, str, str]:
        state = "now" if j == i - 1 else "later" if j >= i else "seen"
        look = ("#fff", "#6b6b6b") if value is None else colours(value, state == "later")
        return number(value), *look, state

    maps = []
    for row in rows:
        places, table = runs.positions([row]), tables[row["label"]]
        names = ["untrained", *(f"+ {place}" for place in places)]
        cells = [[cell(value, i, j) for j, value in enumerate(line)] for i, line in enumerate(table)]
        if table:
            says = f"{primary}: {_greatest_loss(table, places)}"
            maps.append(Heat(row["label"], says, places, list(zip(names, cells, strict=False))))
    return maps


def _greatest_loss(table: Rows, places: Sequence[str]) -> str:
    """The greatest loss of a trained domain, from right after its training until now, in words."""
    ends = [(table[j + 1][j], table[-1][j], place) for j, place in enumerate(places[: len(table) - 1])]
    losses = [(a - b, place, a, b) for a, b, place in ends if a is not None and b is not None]
    if not losses:
        return "no domain trained yet."
    loss, place, then, now = max(losses)
    if loss <= 0:
        return "no domain is below its value right after its training."
    return f"greatest loss on {place}, from {number(then)} right after its training to {number(now)}."
