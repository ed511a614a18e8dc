"""Matrices as tables of coloured cells: R, C, and methods against domains."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from clplat.formats import number
from clplat.plots.canvas import INK, SLANT, axis_names, headline, panels
from clplat.plots.labels import label_text

__all__ = ["Rows", "accuracy_heatmap", "cell_colours", "compatibility_heatmap", "draw_cells", "span"]

Rows = Sequence[Sequence[float | None]]
Cells = Collection[tuple[int, int]]


def span(rows: Rows) -> tuple[float, float]:
    """The least and the greatest value of a matrix; 0 and 1 if it has none."""
    known = [value for row in rows for value in row if value is not None]
    return (min(known), max(known)) if known else (0.0, 1.0)


def cell_colours(value: float, low: float, high: float, *, pale: bool = False) -> tuple[str, str]:
    """The colour of a cell and that of the number in it, on a scale from ``low`` to ``high``.

    Viridis without its darkest fifth; pale cells keep their hue but lose most of it.

    Example:
        >>> cell_colours(1.0, 0.0, 1.0)
        ('#fde725', '#222')
    """
    from matplotlib import colormaps

    share = (value - low) / (high - low) if high > low else 1.0
    channels = colormaps["viridis"](0.2 + 0.8 * share)[:3]
    red, green, blue = (round(255 * float(0.35 * c + 0.65 if pale else c)) for c in channels)
    dark = 0.299 * red + 0.587 * green + 0.114 * blue < 120
    return f"#{red:02x}{green:02x}{blue:02x}", "#fff" if dark else "#222"


def draw_cells(
    axes: Any,
    rows: Rows,
    down: Sequence[str],
    across: Sequence[str],
    *,
    offsets: Sequence[float] | None = None,
    pale: Cells = (),
    framed: Cells = (),
) -> None:
    """Draw each value as a coloured cell with its number, and name rows and columns.

    Args:
        down, across: names of rows and columns.
        offsets: the upper edge of each row; one below the other unless given.
        pale: cells (row, column) that recede; hatched, for black-and-white print.
        framed: cells that stand out.
    """
    from matplotlib.patches import Rectangle

    low, high = span(rows)
    tops = list(map(float, range(len(rows)))) if offsets is None else list(offsets)
    size = 9 if max(len(rows), len(across)) <= 10 else 6
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if value is None:
                continue
            soft = (i, j) in pale
            paper, ink = cell_colours(value, low, high, pale=soft)
            axes.add_patch(
                Rectangle(
                    (j + 0.02, tops[i] + 0.02), 0.96, 0.96, facecolor=paper, linewidth=0,
                    hatch="//" if soft else None, edgecolor="#ffffff",
                )
            )  # fmt: skip
            axes.text(j + 0.5, tops[i] + 0.5, number(value), ha="center", va="center", size=size, color=ink)
    for i, j in framed:
        axes.add_patch(Rectangle((j + 0.03, tops[i] + 0.03), 0.94, 0.94, fill=False, ec=INK, lw=2))
    axes.set_xlim(-0.02, len(across) + 0.02)
    axes.set_ylim(tops[-1] + 1.02, -0.02)
    slant = SLANT if max(map(len, across)) > 9 or len(across) > 8 else {}
    axes.set_xticks([j + 0.5 for j in range(len(across))], [label_text(name, 16) for name in across], **slant)
    axes.set_yticks([top + 0.5 for top in tops], [label_text(name, 24) for name in down])


def accuracy_heatmap(rows: Rows, domains: Sequence[str], *, metric: str = "R@5", title: str = "") -> Any:
    """R: one row per model version, one column per domain. The zero-shot row stands apart on top, domains not
    yet trained on are pale and hatched, the domain just trained on is framed.

    Args:
        rows: T + 1 rows of N percentages; row 0 is the untrained model.
        domains: the N names in stream order.
    """
    count = len(domains)
    figure, axes = _square(2.6 + 0.85 * max(count, 3), 1.9 + 0.75 * len(rows), count)
    draw_cells(
        axes, rows, ["zero-shot", *domains][: len(rows)], domains,
        offsets=[float(i) if i == 0 else i + 0.25 for i in range(len(rows))],
        pale={(i, j) for i in range(len(rows)) for j in range(i, count)},
        framed=[(i, i - 1) for i in range(1, min(len(rows), count + 1))],
    )  # fmt: skip
    axis_names(axes, "evaluated on", "trained so far, up to")
    headline(axes, title, f"{metric} in percent; framed: just trained, hatched: not trained yet")
    return figure


def compatibility_heatmap(
    matrix: Rows, versions: Sequence[str], *, metric: str = "R@5", title: str = ""
) -> Any:
    """C: queries by one model version (rows) against the gallery that another one indexed (columns).

    A cell below the diagonal is compatible when it beats the diagonal of its column: it is then framed.
    """
    count = len(matrix)
    figure, axes = _square(2.8 + 0.85 * max(count, 3), 1.9 + 0.75 * count, count)
    compatible = [
        (i, j)
        for i, row in enumerate(matrix)
        for j, value in enumerate(row[:i])
        if value is not None and (own := matrix[j][j]) is not None and value > own
    ]
    draw_cells(axes, matrix, versions, versions, framed=compatible)
    axis_names(axes, "gallery indexed by", "queries by")
    headline(axes, title, f"{metric} in percent; framed: beats the old model on its own gallery")
    return figure


def _square(width: float, height: float, columns: int) -> tuple[Any, Any]:
    """A figure and its axes, for cells as wide as they are high."""
    figure, (axes,) = panels(1, width, height)
    axes.grid(False)
    axes.set_aspect("equal" if columns > 2 else "auto")
    return figure, axes
