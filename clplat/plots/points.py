"""Methods as named points: one number against another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clplat.plots.canvas import panels, titled
from clplat.plots.labels import label_text, point_labels
from clplat.plots.styles import Style

__all__ = ["Point", "draw_points"]


@dataclass(frozen=True)
class Point:
    """A method in the plane; ``x_sd`` and ``y_sd`` are half lengths of its error bars."""

    name: str
    x: float
    y: float
    style: Style
    x_sd: float = 0.0
    y_sd: float = 0.0


def draw_points(points: Sequence[Point], title: str, across: str, up: str) -> Any:
    """A figure of points with error bars, each with its name beside it."""
    width, height = 5.6, 4.2
    figure, (axes,) = panels(1, width, height)
    for point in points:
        axes.errorbar(
            point.x, point.y, xerr=point.x_sd, yerr=point.y_sd, fmt=point.style.marker,
            color=point.style.colour, ms=8, mec="white", elinewidth=1, alpha=0.95,
            label=label_text(point.name),
        )  # fmt: skip
    axes.margins(0.16)
    axes.autoscale_view()
    titled(axes, title, across, up)
    places = [(point.x, point.y, point.name, point.style.colour) for point in points]
    point_labels(axes, places, width - 0.7, height - 0.8, [(point.x_sd, point.y_sd) for point in points])
    return figure
