"""Methods as named points: one number against another."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clplat.plots.canvas import LETTERS, label_text, panels, titled
from clplat.plots.styles import Style

__all__ = ["Point", "draw_points"]

# Where a name may stand beside its point, in the order of preference: right first.
_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))


@dataclass(frozen=True)
class Point:
    """A method in the plane; ``x_reach`` and ``y_reach`` are how far its error bars go down and up."""

    name: str
    x: float
    y: float
    style: Style
    x_reach: tuple[float, float] = (0.0, 0.0)
    y_reach: tuple[float, float] = (0.0, 0.0)


def draw_points(points: Sequence[Point], title: str, across: str, up: str) -> Any:
    """A figure of points with error bars, each with its name beside it."""
    figure, (axes,) = panels(1, 5.6, 4.2)
    for point in points:
        axes.errorbar(
            [point.x], [point.y], yerr=[[end] for end in point.y_reach],
            xerr=[[end] for end in point.x_reach], fmt=point.style.marker, color=point.style.colour,
            ms=8, mec="white", elinewidth=1, alpha=0.95, label=label_text(point.name),
        )  # fmt: skip
    axes.margins(0.16)
    titled(axes, title, across, up)
    with warnings.catch_warnings():  # of letters that our font lacks: `svg_data` sees to them
        warnings.simplefilter("ignore")
        figure.draw_without_rendering()  # now the axes have their place
        named = _name_beside(axes, points)
    if not named:
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8.5)
    return figure


def _name_beside(axes: Any, points: Sequence[Point]) -> bool:
    """Write each name on a side of its point where it covers nothing; False if there is none for one."""
    from matplotlib.transforms import Bbox

    taken = []
    for p in points:
        (west, east), (south, north) = p.x_reach, p.y_reach
        bars = [(p.x - west, p.y), (p.x + east, p.y), (p.x, p.y - south), (p.x, p.y + north)]
        left, right, low, high = axes.transData.transform(bars)
        taken += [Bbox([left, right]).padded(3), Bbox([low, high]).padded(3)]
    names = []
    for p in points:
        name = axes.annotate(
            label_text(p.name), (p.x, p.y), (0, 0), textcoords="offset points", color=p.style.colour,
            in_layout=False, **LETTERS,
        )  # fmt: skip
        names.append(name)
        for across, up in _SIDES:
            name.xyann = (7 * across, 7 * up)
            name.set(ha=("center", "left", "right")[across], va=("center", "bottom", "top")[up])
            box = name.get_window_extent()
            if not box.count_overlaps(taken) and box.x0 >= 0 and box.x1 <= axes.figure.bbox.x1:
                taken.append(box)
                break
        else:
            for name in names:
                name.remove()
            return False
    return True
