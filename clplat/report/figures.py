"""The drawn figures of every report: over the stream, and plasticity against stability."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.formats import axis_title, number
from clplat.measures import mean_of
from clplat.plots.curves import stream_curves
from clplat.plots.points import Point, draw_points
from clplat.plots.styles import Style
from clplat.report.outcome import Row, Runs

__all__ = ["Drawing", "curves_of", "mean_and_sd", "plasticity_stability", "points_of"]

Drawing = tuple[Any, str]  # a figure, and what it says in words


def curves_of(
    rows: Sequence[Row], runs: Runs, primary: str, styles: Mapping[str, Style], column: int | None
) -> Drawing | None:
    """The primary metric after each domain, mean over replicates, with their range as a thin band.

    Args:
        column: the place in the stream of one domain, or None for the mean over all domains.

    Returns:
        None if no run has a row.
    """
    series = {
        row["label"]: [
            [_mean(values, column) for values in result["metrics"][primary]] for result in runs.of(row)
        ]
        for row in rows
    }
    if not any(series.values()):
        return None
    places = runs.positions(rows)
    title = "Mean over all domains" if column is None else f"The first domain only ({places[column]})"
    drawn = stream_curves(series, places, styles, primary, title)
    if drawn is None:
        return None
    figure, ends = drawn
    values = ", ".join(
        f"{name} {number(value)}" for _, value, name, _ in sorted(ends, key=lambda end: -end[1])
    )
    where = "the mean over all domains" if column is None else f"the first domain, {places[column]},"
    return figure, f"{primary} on {where} over the stream. It ends at: {values}."


def plasticity_stability(rows: Sequence[Row], primary: str, styles: Mapping[str, Style]) -> Drawing | None:
    """Plasticity (each domain right after its training) against stability (the earlier ones at the end)."""
    return points_of(rows, "plasticity", "stability", primary, styles, "")


def points_of(
    rows: Sequence[Row], x: str, y: str, primary: str, styles: Mapping[str, Style], title: str
) -> Drawing | None:
    """Rows as named points with one standard deviation over replicates; None if no row has both numbers."""
    (across, x_scale), (up, y_scale) = axis_title(x, primary), axis_title(y, primary)
    points = [
        Point(
            row["label"], at_x[0] / x_scale, at_y[0] / y_scale, styles[row["label"]], at_x[1] / x_scale,
            at_y[1] / y_scale,
        )
        for row in rows
        if (at_x := mean_and_sd(row, x)) is not None and (at_y := mean_and_sd(row, y)) is not None
    ]  # fmt: skip
    if not points:
        return None
    figure = draw_points(points, title, across, up)
    right, top = max(points, key=lambda point: point.x), max(points, key=lambda point: point.y)
    return figure, (
        f"{up} against {across} of {len(points)} methods. "
        f"Highest {across}: {right.name} with {number(right.x)}; "
        f"highest {up}: {top.name} with {number(top.y)}."
    )


def mean_and_sd(row: Row, name: str) -> tuple[float, float] | None:
    """Mean and standard deviation (0 with one replicate) of a row's measure; None where it is undefined."""
    entry = row["score"] if name == "final" else row["measures"].get(name)
    if entry is None or entry["mean"] is None:
        return None
    return float(entry["mean"]), float(entry["sd"] or 0.0)


def _mean(values: Sequence[float | None], column: int | None) -> float:
    mean = mean_of(values if column is None else values[column : column + 1])
    return float("nan") if mean is None else mean
