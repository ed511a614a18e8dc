"""Curves over the stream: after how many domains each method, or each domain, was how good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.plots.canvas import SLANT, axis_names, headline, panels, titled
from clplat.plots.colours import domain_colour
from clplat.plots.heatmaps import Rows
from clplat.plots.labels import End, end_labels, label_text
from clplat.plots.styles import SHAPES, Style

__all__ = ["domain_curves", "stream_curves"]

Series = Mapping[str, Sequence[Sequence[float]]]
_MARKERS = list(SHAPES)[:8]  # shape as well as colour tells the lines apart
_ACROSS = "trained so far, up to"


def domain_curves(rows: Rows, domains: Sequence[str], *, metric: str = "R@5", title: str = "") -> Any:
    """One line per domain over the stream: thin and dotted before its training, full after.

    Args:
        rows: R, as `accuracy_heatmap` takes it.
    """
    figure, (axes,) = panels(1, 7.6, 4.2)
    axes.grid(False, axis="x")
    room = max(6, 84 // (len(domains) + 1))  # letters that fit between two ticks
    axes.set_xticks(range(len(domains) + 1), ["zero-\nshot", *(label_text(name, room) for name in domains)])
    axis_names(axes, _ACROSS, f"{metric} (%)")
    ends: list[End] = []
    for j, name in enumerate(domains):
        points = [(i, row[j]) for i, row in enumerate(rows) if j < len(row) and row[j] is not None]
        if not points:
            continue
        colour, marker = domain_colour(j, len(domains)), _MARKERS[j % len(_MARKERS)]
        before, after = [p for p in points if p[0] <= j + 1], [p for p in points if p[0] >= j + 1]
        axes.plot(*zip(*before, strict=True), color=colour, lw=1.2, ls=":", alpha=0.8)
        if after:
            axes.plot(*zip(*after, strict=True), color=colour, lw=2.2, marker=marker, ms=5)
            axes.plot(*after[0], "o", ms=11, mfc="none", mec=colour, mew=1.4)
        ends.append((float(points[-1][0]), float(points[-1][1] or 0), name, colour))
    end_labels(axes, ends, 3.1)
    headline(axes, title, "one line per domain; ring: trained here, dotted: not trained yet")
    return figure


def stream_curves(
    series: Series, places: Sequence[str], styles: Mapping[str, Style], metric: str, title: str
) -> tuple[Any, list[End]] | None:
    """One line per method: the mean over its seeds after each domain; the band is their range.

    Args:
        series: method -> one list of T + 1 values per seed (shorter where a run was cut off).
        places: what was trained, from left to right.
        styles: by method.

    Returns:
        The figure, and where each line ends: (step, value, method, colour); None if there is no line.
    """
    height = max(3.5, 1.3 + 0.19 * len(series))
    figure, (axes,) = panels(1, 5.2, height)  # inches: legible on a phone, two beside each other on a desk
    axes.grid(False, axis="x")
    ends = _draw_means(axes, series, styles)
    if not ends:
        return None
    names = ["untrained", *(label_text(place, 14) for place in places)]
    axes.set_xticks(range(len(names)), names, **SLANT)
    titled(axes, title, _ACROSS, f"{metric} (%)")
    end_labels(axes, ends, height - 1.2)
    return figure, ends


def _draw_means(axes: Any, series: Series, styles: Mapping[str, Style]) -> list[End]:
    """The mean of each method's seeds and, as a band, their range; where the lines end."""
    ends = []
    for name, seeds in series.items():
        steps = range(min(map(len, seeds), default=0))
        if not steps:
            continue
        columns = [[seed[i] for seed in seeds] for i in steps]
        means, style = [sum(column) / len(column) for column in columns], styles[name]
        axes.plot(
            steps, means, color=style.colour, lw=style.weight, ls=style.dash, marker=style.marker, ms=5,
            mec="white", mew=0.5,
        )  # fmt: skip
        if len(seeds) > 1:
            low, high = [min(column) for column in columns], [max(column) for column in columns]
            axes.fill_between(steps, low, high, color=style.colour, alpha=0.13, lw=0)
        ends.append((float(steps[-1]), means[-1], name, style.colour))
    return ends
