"""R as small tables of coloured numbers: one per method, all on one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clplat.formats import number
from clplat.plots.heatmaps import cell_colours, span
from clplat.report.outcome import Runs

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


def heat_maps(rows: Sequence[Mapping[str, Any]], runs: Runs, primary: str) -> list[Heat]:
    """The heat maps of the rows that have measured something, means over their replicates."""
    tables = {row["label"]: runs.mean_table(row, primary) for row in rows}
    low, high = span([line for table in tables.values() for line in table])
    maps = []
    for row in rows:
        table = tables[row["label"]]
        if not table:
            continue
        places = runs.positions([row])
        lines = [
            (
                "untrained" if i == 0 else f"+ {places[i - 1]}",
                [_cell(value, low, high, i, j) for j, value in enumerate(line)],
            )
            for i, line in enumerate(table)
        ]
        maps.append(Heat(row["label"], _says(table, places, primary), places, lines))
    return maps


def _cell(value: float | None, low: float, high: float, i: int, j: int) -> tuple[str, str, str, str]:
    state = "now" if j == i - 1 else "later" if j >= i else "seen"
    if value is None:
        return "–", "#ffffff", "#6b6b6b", state
    return number(value), *cell_colours(value, low, high, pale=state == "later"), state


def _says(table: Sequence[Sequence[float | None]], places: Sequence[str], primary: str) -> str:
    """The greatest loss of a trained domain, from right after its training until now, in words."""
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
