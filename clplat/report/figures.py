"""The drawn figures of every report: over the stream, plasticity against stability, and studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.report.canvases import panels, titled
from clplat.report.formats import axis_title, number
from clplat.report.outcome import Runs
from clplat.report.styles import Style
from clplat.tracking.labels import end_labels, named, point_labels

__all__ = ["plane", "points_with_spread", "spot", "stream_curves"]

Row = Mapping[str, Any]
_WIDE = 5.2  # inches: legible when a phone shrinks it, two beside each other on a desk


def stream_curves(
    rows: Sequence[Row], runs: Runs, primary: str, look: Mapping[str, Style], column: int | None
) -> tuple[Any, str] | None:
    """The primary metric after each domain, mean over replicates, with their range as a thin band.

    Args:
        column: the place in the stream of one domain, or None for the mean over all domains.

    Returns:
        The figure and what it says in words; None if no run has a row.
    """
    tall = max(3.5, 1.3 + 0.19 * len(rows))
    figure, (axes,) = panels(1, _WIDE, tall)
    axes.grid(False, axis="x")
    ends = []
    for row in rows:
        tables = [result["metrics"][primary] for result in runs.of(row)]
        steps = range(min(map(len, tables), default=0))
        if not steps:
            continue
        lines = [[_cell(table[i], column) for i in steps] for table in tables]
        means = [sum(values) / len(values) for values in zip(*lines, strict=True)]
        style = look[row["label"]]
        axes.plot(
            steps, means, color=style.colour, lw=style.weight, ls=style.dash, marker=style.marker, ms=5,
            mec="white", mew=0.5,
        )  # fmt: skip
        if len(lines) > 1:
            bounds = [(min(values), max(values)) for values in zip(*lines, strict=True)]
            axes.fill_between(steps, *zip(*bounds, strict=True), color=style.colour, alpha=0.13, lw=0)
        ends.append((float(steps[-1]), means[-1], row["label"], style.colour))
    if not ends:
        return None
    places = runs.positions(rows)
    slant = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(places) + 1), ["untrained", *(named(place, 14) for place in places)], **slant)
    what = "Mean over all domains" if column is None else f"The first domain only ({places[column]})"
    titled(axes, what, "trained so far, up to", f"{primary} (%)")
    end_labels(axes, ends, tall - 1.2)
    best = sorted(ends, key=lambda end: -end[1])
    said = ", ".join(f"{name} {number(value)}" for _, value, name, _ in best)
    where = "the mean over all domains" if column is None else f"the first domain, {places[column]},"
    return figure, f"{primary} on {where} over the stream. It ends at: {said}."


def points_with_spread(
    rows: Sequence[Row], x: str, y: str, primary: str, look: Mapping[str, Style], title: str
) -> tuple[Any, str] | None:
    """Rows as named points with one standard deviation over replicates; None if no row has both numbers."""
    found = [(row, spot(row, x), spot(row, y)) for row in rows]
    points = [(row, at_x, at_y) for row, at_x, at_y in found if at_x is not None and at_y is not None]
    if not points:
        return None
    wide, tall = _WIDE + 0.4, 4.2
    figure, (axes,) = panels(1, wide, tall)
    (across, x_scale), (up, y_scale) = axis_title(x, primary), axis_title(y, primary)
    names, spreads = [], []
    for row, (x_mean, x_sd), (y_mean, y_sd) in points:
        style = look[row["label"]]
        axes.errorbar(
            x_mean / x_scale, y_mean / y_scale, xerr=x_sd / x_scale, yerr=y_sd / y_scale, fmt=style.marker,
            color=style.colour, ms=8, mec="white", elinewidth=1, alpha=0.95, label=named(row["label"]),
        )  # fmt: skip
        names.append((x_mean / x_scale, y_mean / y_scale, row["label"], style.colour))
        spreads.append((x_sd / x_scale, y_sd / y_scale))
    axes.margins(0.16)
    axes.autoscale_view()
    titled(axes, title, across, up)
    point_labels(axes, names, wide - 0.7, tall - 0.8, spreads)
    top_x, top_y = max(names, key=lambda p: p[0]), max(names, key=lambda p: p[1])
    return figure, (
        f"{up} against {across} of {len(names)} methods. "
        f"Highest {across}: {top_x[2]} with {number(top_x[0])}; "
        f"highest {up}: {top_y[2]} with {number(top_y[1])}."
    )


def plane(rows: Sequence[Row], primary: str, look: Mapping[str, Style]) -> tuple[Any, str] | None:
    """Plasticity (each domain right after its training) against stability (the earlier ones at the end)."""
    return points_with_spread(rows, "plasticity", "stability", primary, look, "")


def spot(row: Row, name: str) -> tuple[float, float] | None:
    """Mean and standard deviation (0 with one replicate) of a row's measure; None where it is undefined."""
    entry = row["score"] if name == "final" else row["measures"].get(name)
    if entry is None or entry["mean"] is None:
        return None
    return float(entry["mean"]), float(entry["sd"] or 0.0)


def _cell(values: Sequence[float | None], column: int | None) -> float:
    known = [
        value for value in (values if column is None else values[column : column + 1]) if value is not None
    ]
    return sum(known) / len(known) if known else float("nan")
