"""Curves over the stream: after how many domains each method, or each domain, was how good."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.plots.canvas import SLANT, End, end_labels, label_text, panels, titled
from clplat.plots.colours import domain_colour
from clplat.plots.heatmaps import Rows
from clplat.plots.styles import MARKERS, Style

__all__ = ["domain_curves", "stream_curves"]

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
    ends: list[End] = []
    for j, name in enumerate(domains):
        points = [(i, value) for i, row in enumerate(rows) if (value := row[j]) is not None]
        if not points:
            continue
        colour, marker = domain_colour(j, len(domains)), MARKERS[j % 8]  # shape tells lines apart as well
        before, after = [p for p in points if p[0] <= j + 1], [p for p in points if p[0] >= j + 1]
        axes.plot(*zip(*before, strict=True), color=colour, lw=1.2, ls=":", alpha=0.8)
        if after:
            axes.plot(*zip(*after, strict=True), color=colour, lw=2.2, marker=marker, ms=5)
            axes.plot(*after[0], "o", ms=11, mfc="none", mec=colour, mew=1.4)
        ends.append((*points[-1], name, colour))
    end_labels(axes, ends)
    how = "one line per domain; ring: trained here, dotted: not trained yet"
    titled(axes, title, _ACROSS, f"{metric} (%)", how)
    return figure


def stream_curves(
    series: Mapping[str, Sequence[Sequence[float]]],
    places: Sequence[str],
    styles: Mapping[str, Style],
    metric: str,
    title: str,
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
    ends: list[End] = []
    for name, seeds in series.items():
        steps = list(zip(*seeds, strict=False))
        if not steps:
            continue
        means = [sum(values) / len(values) for values in steps]
        axes.plot(means, **styles[name].line, ms=5, mew=0.5)
        if len(seeds) > 1:
            low, high = list(map(min, steps)), list(map(max, steps))
            axes.fill_between(range(len(steps)), low, high, color=styles[name].colour, alpha=0.13, lw=0)
        ends.append((len(steps) - 1, means[-1], name, styles[name].colour))
    if not ends:
        return None
    axes.set_xticks(range(len(places) + 1), ["untrained", *(label_text(p, 14) for p in places)], **SLANT)
    titled(axes, title, _ACROSS, f"{metric} (%)")
    end_labels(axes, ends)
    return figure, ends
