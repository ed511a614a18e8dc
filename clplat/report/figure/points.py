"""Figures of points, bars or coloured cells: methods against each other."""

from __future__ import annotations

from clplat.formats import axis_title, number
from clplat.measures import mean_of
from clplat.plots.canvas import INK, SOFT, label_text, panels, titled
from clplat.plots.heatmaps import draw_heatmap
from clplat.plots.points import Point, draw_points
from clplat.report.figure.request import Drawing, FigureRequest
from clplat.report.outcome import Row, is_contender

__all__ = ["bars", "heatmap", "scatter"]


def scatter(request: FigureRequest) -> Drawing | None:
    """Rows as named points, the measure ``x`` against ``y``; None if no row has both."""
    (x, *_), (y, *_) = request.measures("x"), request.measures("y")
    across, up = axis_title(x, request.primary)[0], axis_title(y, request.primary)[0]
    points = [
        Point(request.name(row), at_x[0], at_y[0], request.styles[row["label"]], at_x[1:], at_y[1:])
        for row in request.rows
        if (at_x := request.spread(row, x)) is not None and (at_y := request.spread(row, y)) is not None
    ]
    if not points:
        return None
    right, top = max(points, key=lambda point: point.x), max(points, key=lambda point: point.y)
    return draw_points(points, request.title, across, up), (
        f"{up} against {across} of {len(points)} methods. "
        f"Highest {across}: {right.name} with {number(right.x)}; "
        f"highest {up}: {top.name} with {number(top.y)}."
    )


def bars(request: FigureRequest) -> Drawing:
    """Bars from zero with intervals, one panel per measure, rows in the order of the sweep."""
    names, rows = request.measures("y"), request.rows
    figure, every = panels(len(names), 5.2 if len(names) == 1 else 4.2, 1.2 + 0.34 * len(rows))
    hatched = "" if all(map(is_contender, rows)) else "; hatched: bounds and controls"
    words = []
    for axes, name in zip(every, names, strict=True):
        known = [(i, row, s) for i, row in enumerate(rows) if (s := request.spread(row, name)) is not None]
        for i in set(range(len(rows))) - {i for i, *_ in known}:
            axes.text(0, i, " undefined", va="center", fontsize=8.5, color=SOFT)
        if known:
            colours = [request.styles[row["label"]].colour for _, row, _ in known]
            filled = [is_contender(row) for _, row, _ in known]
            drawn = axes.barh(
                [i for i, *_ in known], [s[0] for *_, s in known], height=0.66, edgecolor=colours,
                color=[c if full else "white" for c, full in zip(colours, filled, strict=True)],
                hatch=[None if full else "///" for full in filled],
                xerr=list(zip(*(s[1:] for *_, s in known), strict=True)),
                error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2.5},
            )  # fmt: skip
            axes.bar_label(drawn, [number(s[0]) for *_, s in known], padding=5, fontsize=8.5, color=INK)
        words += [f"{request.name(row)} {number(s[0])}" for _, row, s in known]
        axes.grid(False, axis="y")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        first = axes is every[0]
        axes.set_yticks(range(len(rows)), [label_text(request.name(r), 32) if first else "" for r in rows])
        axes.margins(x=0.14)
        titled(axes, request.title if first else "", axis_title(name, request.primary)[0] + hatched, "")
    return figure, f"{', '.join(names)}: {', '.join(words)}."


def heatmap(request: FigureRequest) -> Drawing | None:
    """Methods x domains: the newest value of the primary metric; the best contender of a column is framed."""
    rows = [row for row in request.rows if request.runs.of(row)]
    domains = list(dict.fromkeys(name for row in rows for r in request.runs.of(row) for name in r["domains"]))
    cells = [[_newest(request, row, name) for name in domains] for row in rows]
    if not any(value is not None for line in cells for value in line):
        return None
    best: list[tuple[int, int]] = []
    for j in range(len(domains)):
        rivals = {i: v for i, row in enumerate(rows) if is_contender(row) and (v := cells[i][j]) is not None}
        best += [(i, j) for i, value in rivals.items() if value == max(rivals.values())]
    names = [request.name(row) for row in rows]
    figure, axes = draw_heatmap(cells, names, domains, (0.62, 0.34), framed=best)
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
