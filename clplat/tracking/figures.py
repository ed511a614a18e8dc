"""Figures from plain numbers: curves and the trade-off here, the matrices in `heatmaps`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.tracking.colours import domain_colour
from clplat.tracking.heatmaps import (
    INK,
    SOFT,
    Rows,
    accuracy_heatmap,
    canvas,
    compatibility_heatmap,
    headline,
)
from clplat.tracking.labels import end_labels, named, point_labels

__all__ = ["accuracy_heatmap", "compatibility_heatmap", "domain_curves", "strategy_curves", "tradeoff"]

_GRID = "#e4e4e4"
_MARKERS = "osD^vPX*"  # shape as well as colour tells the lines apart


def _axes_of_steps(axes: Any, domains: Sequence[str], metric: str) -> None:
    room = max(6, 84 // (len(domains) + 1))  # letters that fit between two ticks
    axes.set_xticks(range(len(domains) + 1), ["zero-\nshot", *(named(name, room) for name in domains)])
    axes.set_xlabel("trained so far, up to", color=SOFT, fontsize=9)
    axes.set_ylabel(f"{metric} (%)", color=SOFT, fontsize=9)
    axes.grid(axis="y", color=_GRID, lw=0.8)
    axes.set_axisbelow(True)


def domain_curves(rows: Rows, domains: Sequence[str], *, metric: str = "R@5", title: str = "") -> Any:
    """One line per domain over the stream: thin and dotted before its training, full after."""
    figure, axes = canvas(7.6, 4.2)
    _axes_of_steps(axes, domains, metric)
    ends = []
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


def strategy_curves(
    series: Mapping[str, Sequence[Sequence[float]]],
    domains: Sequence[str],
    colours: Mapping[str, str],
    *,
    metric: str = "R@5",
    title: str = "Keeping up with the stream",
) -> Any:
    """One line per strategy: the mean over all domains after each step; the band is the range over seeds.

    Args:
        series: strategy -> one list of T + 1 means per seed (shorter where a run was cut off).
    """
    figure, axes = canvas(7.6, 4.4)
    _axes_of_steps(axes, domains, metric)
    ends = []
    for k, (name, seeds) in enumerate(series.items()):
        steps = range(min((len(seed) for seed in seeds), default=0))
        if not steps:
            continue
        columns = [[seed[i] for seed in seeds] for i in steps]
        means = [sum(column) / len(column) for column in columns]
        colour = colours.get(name, INK)
        axes.plot(steps, means, color=colour, lw=2, marker=_MARKERS[k % len(_MARKERS)], ms=5)
        low, high = [min(column) for column in columns], [max(column) for column in columns]
        axes.fill_between(steps, low, high, color=colour, alpha=0.15, lw=0)
        ends.append((float(steps[-1]), means[-1], name, colour))
    end_labels(axes, ends, 3.1)
    seeds_seen = {len(seeds) for seeds in series.values()}
    band = "; band: range over seeds" if seeds_seen != {1} else ""
    headline(axes, title, f"mean {metric} over all domains of the stream{band}")
    return figure


def tradeoff(
    points: Sequence[tuple[str, float, float, str]],
    *,
    metric: str = "R@5",
    title: str = "What is kept against what is lost",
) -> Any:
    """Forgetting against the final score, one point per strategy: the upper left corner is best.

    Args:
        points: (name, forgetting in points, final score in percent, colour).
    """
    figure, axes = canvas(6.4, 4.4)
    axes.grid(color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.margins(0.18)
    for k, (name, forgetting, score, colour) in enumerate(points):
        look = {"color": colour, "ms": 9, "mec": "white", "ls": "", "label": named(name)}
        axes.plot(forgetting, score, marker=_MARKERS[k % len(_MARKERS)], **look)
    places = [(forgetting, score, name, colour) for name, forgetting, score, colour in points]
    point_labels(axes, places, 5.4, 3.2, [(0.0, 0.0)] * len(points))
    axes.set_xlabel("forgetting (points; left is better)", color=SOFT, fontsize=9)
    axes.set_ylabel(f"{metric} after the last domain (%)", color=SOFT, fontsize=9)
    headline(axes, title, "upper left is best")
    return figure
