"""Bare axes with titles, names beside the lines that they name, and a figure as data for a page."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

__all__ = [
    "INK", "LETTERS", "SLANT", "SOFT", "End", "end_labels", "label_text", "panels", "spread", "svg_data",
    "titled",
]  # fmt: skip

End = tuple[float, float, str, str]  # x, y, name, colour

INK, SOFT = "#222222", "#6b6b6b"
SLANT = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}  # of long names below an axis
LETTERS = {"fontsize": 8.5, "fontweight": "bold", "annotation_clip": False}  # of names in the axes


def panels(count: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """A figure with ``count`` bare axes on a grid side by side, each ``width`` x ``height`` inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * count, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    every = list(figure.subplots(1, count, squeeze=False)[0])
    for axes in every:
        axes.tick_params(length=0, colors=INK, labelsize=9)
        axes.spines[:].set_visible(False)
        axes.grid(color="#e4e4e4", lw=0.8)
        axes.set_axisbelow(True)
    return figure, every


def titled(axes: Any, title: str, across: str, up: str, how: str = "") -> None:
    """A bold title on the left, below it ``how`` to read the figure, and the names of both axes."""
    if how:
        axes.text(0, 1.02, how, transform=axes.transAxes, fontsize=9, color=SOFT, va="bottom")
    text = label_text(title, 90) + ("\n" if how else "")
    axes.set_title(text, loc="left", fontsize=11 if how else 10, fontweight="bold", color=INK)
    axes.set_xlabel(label_text(across, 90), color=SOFT, fontsize=9)
    axes.set_ylabel(label_text(up, 90), color=SOFT, fontsize=9)


def label_text(name: str, length: int = 26) -> str:
    """A name as matplotlib takes it: its middle left out if it is long, dollars that start no formula.

    Example:
        >>> label_text("replay with a long name, size 50", 20)  # names of a sweep often differ at their ends
        'replay wi…e, size 50'
    """
    if len(name) > length:
        front = (length - 1) // 2
        name = f"{name[:front]}…{name[front + 1 - length :]}"
    return name.replace("$", r"\$")


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move places at least ``gap`` apart, in their order and as little as a sweep up and down needs.

    They stay within ``low`` and ``high`` if there is room for all of them.

    Example:
        >>> spread([1.0, 1.2, 5.0], gap=1.0, low=0.0, high=6.0)
        [1.0, 2.0, 5.0]
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    gap = min(gap, (high - low) / max(len(places) - 1, 1))
    # Less the gaps below them, places must only be in order.
    packed = accumulate((max(low, places[k] - i * gap) for i, k in enumerate(order)), max)
    highest = high - gap * (len(places) - 1)
    moved = {order[i]: min(place, highest) + i * gap for i, place in enumerate(packed)}
    return [moved[k] for k in range(len(places))]


def end_labels(axes: Any, ends: Sequence[End]) -> None:
    """Write (x, y, name, colour) at the right edge; a hair line where a name had to move or ends early."""
    low, high = axes.get_ylim()
    # A line of text is 0.17 inches high; titles and tick labels leave about 0.7 of the figure to the axes.
    gap = 0.17 * (high - low) / (0.7 * axes.figure.get_figheight())
    last = max((x for x, *_ in ends), default=0.0)
    places = spread([end[1] for end in ends], gap, low, high)
    for (x, y, name, colour), place in zip(ends, places, strict=True):
        moved = x < last or abs(place - y) > gap / 2
        axes.annotate(
            label_text(name), (x, y), (1.0, place), textcoords=axes.get_yaxis_transform(), color=colour,
            va="center", arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6} if moved else None,
            **LETTERS,
        )  # fmt: skip


def svg_data(figure: Any) -> str:
    """A matplotlib figure as a ``data:`` address; equal figures give equal text."""
    from matplotlib import rc_context

    # Letters are outlines, the same everywhere; where our font lacks some (Chinese, for one), the reader's
    # browser writes the text with its own.
    for letters in ("path", "none"):
        target = io.BytesIO()
        with (
            warnings.catch_warnings(record=True) as warned,
            rc_context({"svg.hashsalt": "clplat", "svg.fonttype": letters}),
        ):
            warnings.simplefilter("always")
            figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
        if not any(str(warning.message).startswith("Glyph") for warning in warned):
            break
    return "data:image/svg+xml;base64," + base64.b64encode(target.getvalue()).decode()
