"""Figures of points, bars or coloured cells: methods against each other."""

from __future__ import annotations

from typing import Any

from clplat.formats import axis_title, number
from clplat.measures import mean_of
from clplat.plots.canvas import INK, SOFT, panels, titled
from clplat.plots.heatmaps import draw_cells
from clplat.plots.labels import label_text
from clplat.report.figure.request import FigureRequest, spread_of
from clplat.report.figures import Drawing, points_of
from clplat.report.outcome import Row, is_contender

__all__ = ["bars", "heatmap", "scatter"]


def scatter(request: FigureRequest) -> Drawing | None:
    """Rows as named points, the measure ``x`` against ``y``, with one standard deviation."""
    (x, *_), (y, *_) = request.measures("x"), request.measures("y")
    rows = [{**row, "label": request.name(row)} for row in request.rows]
    styles = {request.name(row): request.styles[row["label"]] for row in request.rows}
    return points_of(rows, x, y, request.primary, styles, request.title)


def bars(request: FigureRequest) -> Drawing:
    """Bars from zero with intervals, one panel per measure, rows in the order of the sweep."""
    names, labels = request.measures("y"), [label_text(request.name(row), 32) for row in request.rows]
    figure, every = panels(len(names), 5.2 if len(names) == 1 else 4.2, 1.2 + 0.34 * len(labels))
    hatched = "" if all(map(is_contender, request.rows)) else "; hatched: bounds and controls"
    words = []
    for axes, name in zip(every, names, strict=True):
        up, scale = axis_title(name, request.primary)
        for i, row in enumerate(request.rows):
            mean = _bar(axes, i, row, name, scale, request.styles[row["label"]].colour)
            words += [] if mean is None else [f"{request.name(row)} {number(mean)}"]
        axes.grid(False, axis="y")
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_yticks(range(len(labels)), labels if axes is every[0] else [""] * len(labels))
        axes.margins(x=0.14)
        titled(axes, request.title if axes is every[0] else "", up + hatched, "")
    return figure, f"{', '.join(names)}: {', '.join(words)}."


def _bar(axes: Any, i: int, row: Row, name: str, scale: float, colour: str) -> float | None:
    """Draw a row's bar with its interval and its number; the mean."""
    spread = spread_of(row, name, scale)
    if spread is None:
        axes.text(0, i, " undefined", va="center", fontsize=8.5, color=SOFT)
        return None
    mean, down, above = spread
    hatch = None if is_contender(row) else "///"
    axes.barh(
        i, mean, height=0.66, color="white" if hatch else colour, edgecolor=colour, hatch=hatch,
        xerr=[[down], [above]], error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2.5},
    )  # fmt: skip
    reach, side = (mean + above, 5) if mean >= 0 else (mean - down, -5)
    axes.annotate(
        number(mean), (reach, i), (side, 0), textcoords="offset points", va="center",
        ha="left" if side > 0 else "right", fontsize=8.5, color=INK,
    )  # fmt: skip
    return mean


def heatmap(request: FigureRequest) -> Drawing | None:
    """Methods x domains: the newest value of the primary metric; the best contender of a column is framed."""
    rows = [row for row in request.rows if request.runs.of(row)]
    domains = list(dict.fromkeys(name for order in request.runs.orders(rows) for name in order))
    cells = [[_newest(request, row, name) for name in domains] for row in rows]
    if not any(value is not None for line in cells for value in line):
        return None
    best: list[tuple[int, int]] = []
    for j in range(len(domains)):
        rivals = {i: v for i, row in enumerate(rows) if is_contender(row) and (v := cells[i][j]) is not None}
        best += [(i, j) for i, value in rivals.items() if value == max(rivals.values())]
    figure, (axes,) = panels(1, 2.6 + 0.62 * max(len(domains), 4), 1.3 + 0.34 * len(rows))
    axes.grid(False)
    names = [request.name(row) for row in rows]
    draw_cells(axes, cells, names, domains, framed=best)
    titled(axes, request.title, f"{request.primary} (%) after the last domain; framed: best contender", "")
    wins = {name: sum(i == k for i, _ in best) for k, name in enumerate(names)}
    words = [f"{name} on {n}" for name, n in sorted(wins.items(), key=lambda win: -win[1]) if n]
    return figure, (
        f"{request.primary} of {len(rows)} methods on {len(domains)} domains. "
        f"Best contender: {', '.join(words) or 'none'}."
    )


def _newest(request: FigureRequest, row: Row, domain: str) -> float | None:
    """The newest value on one domain, mean over the replicates, wherever each stream had the domain."""
    return mean_of(
        result["metrics"][request.primary][-1][result["domains"].index(domain)]
        for result in request.runs.of(row)
        if domain in result["domains"]
    )
