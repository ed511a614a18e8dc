"""Questions with points, bars or a table of colours for an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clplat.report.asked import Asked, Drawing, bounds
from clplat.report.canvases import panels, titled
from clplat.report.figures import points_with_spread
from clplat.report.formats import axis_title, number
from clplat.report.outcome import is_contender
from clplat.tracking.heatmaps import INK, SOFT
from clplat.tracking.labels import named

__all__ = ["bars", "heatmap", "scatter"]

Row = Mapping[str, Any]
_NAME = 32  # characters of a method beside a bar


def scatter(asked: Asked) -> Drawing:
    """Rows as named points, the measure ``x`` against ``y``, with one standard deviation."""
    (x, *_), (y, *_) = asked.measures("x"), asked.measures("y")
    rows = [{**row, "label": asked.name(row)} for row in asked.rows]
    look = {asked.name(row): asked.look[row["label"]] for row in asked.rows}
    return points_with_spread(rows, x, y, asked.primary, look, asked.title)


def bars(asked: Asked) -> Drawing:
    """Bars from zero with intervals, one panel a measure, rows in the order of the sweep."""
    names, labels = asked.measures("y"), [named(asked.name(row), _NAME) for row in asked.rows]
    figure, every = panels(len(names), 5.2 if len(names) == 1 else 4.2, 1.2 + 0.34 * len(labels))
    said = []
    for axes, name in zip(every, names, strict=True):
        up, scale = axis_title(name, asked.primary)
        for i, row in enumerate(asked.rows):
            spread = bounds(row, name, scale)
            if spread is None:
                axes.text(0, i, " undefined", va="center", fontsize=8.5, color=SOFT)
                continue
            mean, down, above = spread
            colour, hatch = asked.look[row["label"]].colour, None if is_contender(row) else "///"
            axes.barh(
                i, mean, height=0.66, color="white" if hatch else colour, edgecolor=colour, hatch=hatch,
                xerr=[[down], [above]], error_kw={"ecolor": INK, "elinewidth": 1, "capsize": 2.5},
            )  # fmt: skip
            reach, side = (mean + above, 5) if mean >= 0 else (mean - down, -5)
            axes.annotate(
                number(mean), (reach, i), (side, 0), textcoords="offset points", va="center",
                ha="left" if side > 0 else "right", fontsize=8.5, color=INK,
            )  # fmt: skip
            said.append(f"{asked.name(row)} {number(mean)}")
        axes.grid(False, axis="y")
        axes.set_ylim(len(labels) - 0.4, -0.6)
        axes.set_yticks(range(len(labels)), labels if axes is every[0] else [""] * len(labels))
        axes.margins(x=0.14)
        hatched = "" if all(map(is_contender, asked.rows)) else "; hatched: bounds and controls"
        titled(axes, asked.title if axes is every[0] else "", up + hatched, "")
    return figure, f"{', '.join(names)}: {', '.join(said)}."


def heatmap(asked: Asked) -> Drawing:
    """Methods x domains: the newest value of the primary metric; the best contender of a column is framed."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    rows = [row for row in asked.rows if asked.runs.of(row)]
    domains = list(dict.fromkeys(name for order in asked.runs.orders(rows) for name in order))
    cells = [[_newest(asked, row, name) for name in domains] for row in rows]
    known = [value for line in cells for value in line if value is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    figure, (axes,) = panels(1, 2.6 + 0.62 * max(len(domains), 4), 1.3 + 0.34 * len(rows))
    axes.grid(False)
    wins: dict[str, int] = {}
    for j in range(len(domains)):
        rivals = [cells[i][j] for i, row in enumerate(rows) if is_contender(row)]
        best = max((value for value in rivals if value is not None), default=None)
        for i, row in enumerate(rows):
            value = cells[i][j]
            if value is None:
                continue
            red, green, blue, _ = colormaps["viridis"](0.2 + 0.8 * (value - low) / max(high - low, 1e-9))
            axes.add_patch(Rectangle((j, i), 1, 1, facecolor=(red, green, blue), edgecolor="white", lw=1))
            won = is_contender(row) and value == best
            if won:
                wins[asked.name(row)] = wins.get(asked.name(row), 0) + 1
                axes.add_patch(Rectangle((j + 0.04, i + 0.06), 0.92, 0.88, fill=False, ec=INK, lw=2))
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.47
            axes.text(
                j + 0.5, i + 0.52, number(value), ha="center", va="center", fontsize=9,
                color="white" if dark else INK, fontweight="bold" if won else "normal",
            )  # fmt: skip
    axes.set_xlim(0, len(domains))
    axes.set_ylim(len(rows), 0)
    slant = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks([j + 0.5 for j in range(len(domains))], [named(name, 16) for name in domains], **slant)
    axes.set_yticks([i + 0.5 for i in range(len(rows))], [named(asked.name(row), _NAME) for row in rows])
    titled(axes, asked.title, f"{asked.primary} (%) after the last domain; framed: best contender", "")
    best_of = ", ".join(f"{name} on {n}" for name, n in sorted(wins.items(), key=lambda win: -win[1]))
    return figure, (
        f"{asked.primary} of {len(rows)} methods on {len(domains)} domains. "
        f"Best contender: {best_of or 'none'}."
    )


def _newest(asked: Asked, row: Row, domain: str) -> float | None:
    """The newest value on one domain, mean over the replicates, wherever each stream had the domain."""
    values = [
        result["metrics"][asked.primary][-1][result["domains"].index(domain)]
        for result in asked.runs.of(row)
        if domain in result["domains"]
    ]
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None
