"""Bare axes, titles, and figures as data for a page: SVG for lines, JPEG for pictures."""

from __future__ import annotations

import base64
import io
import warnings
from pathlib import Path
from typing import Any

from clplat.plots.labels import label_text

__all__ = [
    "GRID",
    "INK",
    "SLANT",
    "SOFT",
    "axis_names",
    "headline",
    "jpeg_data",
    "panels",
    "svg_data",
    "titled",
]

INK, SOFT, GRID = "#222222", "#6b6b6b", "#e4e4e4"
SLANT = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}  # of long names below an axis
_LARGEST = (1000, 2400)  # pixels of a retrieval grid in a page


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
        axes.grid(color=GRID, lw=0.8)
        axes.set_axisbelow(True)
    return figure, every


def headline(axes: Any, title: str, subtitle: str) -> None:
    """A bold title, and below it how to read the figure."""
    axes.set_title(
        f"{label_text(title, 60)}\n" if title else "\n", loc="left", fontsize=12, fontweight="bold", color=INK
    )
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, fontsize=9, color=SOFT, va="bottom")


def titled(axes: Any, title: str, across: str, up: str) -> None:
    """A bold title on the left and the names of both axes; a dollar in them is a dollar."""
    axes.set_title(title.replace("$", r"\$"), loc="left", fontsize=10, fontweight="bold", color=INK)
    axis_names(axes, across, up)


def axis_names(axes: Any, across: str, up: str) -> None:
    """What is drawn from left to right and from bottom to top."""
    axes.set_xlabel(across.replace("$", r"\$"), color=SOFT, fontsize=9)
    axes.set_ylabel(up.replace("$", r"\$"), color=SOFT, fontsize=9)


def svg_data(figure: Any) -> str:
    """A matplotlib figure as a ``data:`` address; equal figures give equal text.

    Letters are outlines, the same everywhere; where our font lacks some (Chinese, for one), the reader's
    browser writes the text with its own.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        drawing = _svg(figure, "path")
        if any(str(warning.message).startswith("Glyph") for warning in warned):
            drawing = _svg(figure, "none")
    return "data:image/svg+xml;base64," + base64.b64encode(drawing.encode()).decode()


def _svg(figure: Any, letters: str) -> str:
    from matplotlib import rc_context

    target = io.StringIO()
    with rc_context({"svg.hashsalt": "clplat", "svg.fonttype": letters}):
        figure.savefig(target, format="svg", metadata={"Date": None, "Creator": None})
    return target.getvalue()


def jpeg_data(path: Path) -> tuple[str, int, int]:
    """A picture on disk as a ``data:`` address, no larger than a page needs, with its width and height.

    Raises:
        OSError: the file is no readable picture.
    """
    from PIL import Image

    with Image.open(path) as picture:
        small = picture.convert("RGB")
    small.thumbnail(_LARGEST)
    target = io.BytesIO()
    small.save(target, format="JPEG", quality=78, optimize=True)
    data = "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
    return data, small.width, small.height
