"""Matrices as tables of coloured cells: R, C, and methods against domains."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from clplat.formats import number
from clplat.plots.canvas import INK, SLANT, label_text, panels, titled

__all__ = ["Rows", "accuracy_heatmap", "colour_scale", "compatibility_heatmap", "draw_heatmap"]

Rows = Sequence[Sequence[float | None]]
Cells = Collection[tuple[int, int]]


def colour_scale(rows: Rows) -> Callable[[float, bool], tuple[str, str]]:
    """From a value of a matrix, and whether it is pale, to the colour of its cell and of the number in it.

    Viridis without its darkest fifth; pale cells keep their hue but lose most of it.

    Example:
        >>> colour_scale([[0.0, None], [0.5, 1.0]])(1.0, False)
        ('#fde725', '#222')
    """
    from matplotlib import colormaps

    known = [value for row in rows for value in row if value is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)

    def colours(value: float, pale: bool) -> tuple[str, str]:
        share = (value - low) / (high - low) if high > low else 1.0
        channels = colormaps["viridis"](0.2 + 0.8 * share)[:3]
        red, green, blue = (round(255 * float(0.35 * c + 0.65 if pale else c)) for c in channels)
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 120
        return f"#{red:02x}{green:02x}{blue:02x}", "#fff" if dark else "#222"

    return colours


def draw_heatmap(
    rows: Rows,
    down: Sequence[str],
    across: Sequence[str],
    cell: tuple[float, float] = (0.85, 0.75),
    first_apart: bool = False,
    pale: Cells = (),
    framed: Cells = (),
) -> tuple[Any, Any]:
    """Each value as a coloured cell with its number, rows and columns named; the figure and its axes.

    Args:
        down, across: names of rows and columns.
        cell: width and height of a cell in inches.
        first_apart: whether the first row stands apart from the others.
        pale: cells (row, column) that recede; hatched, for black-and-white print.
        framed: cells that stand out.
    """
    from matplotlib.patches import Rectangle

    figure, (axes,) = panels(1, 2.6 + cell[0] * max(len(across), 4), 1.6 + cell[1] * len(rows))
    axes.grid(False)
    colours = colour_scale(rows)
    tops = [i + 0.25 * (first_apart and i > 0) for i in range(len(rows))]
    size = 9 if max(len(rows), len(across)) <= 10 else 6
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if value is None:
                continue
            soft = (i, j) in pale
            paper, ink = colours(value, soft)
            hatch = "//" if soft else None
            box = Rectangle((j + 0.02, tops[i] + 0.02), 0.96, 0.96, fc=paper, ec="#fff", lw=0, hatch=hatch)
            axes.add_patch(box)
            axes.text(j + 0.5, tops[i] + 0.5, number(value), ha="center", va="center", size=size, color=ink)
    for i, j in framed:
        axes.add_patch(Rectangle((j + 0.03, tops[i] + 0.03), 0.94, 0.94, fill=False, ec=INK, lw=2))
    axes.set_xlim(-0.02, len(across) + 0.02)
    axes.set_ylim(tops[-1] + 1.02, -0.02)
    slant = SLANT if max(map(len, across)) > 9 or len(across) > 8 else {}
    axes.set_xticks([j + 0.5 for j in range(len(across))], [label_text(name, 16) for name in across], **slant)
    axes.set_yticks([top + 0.5 for top in tops], [label_text(name, 24) for name in down])
    return figure, axes


def accuracy_heatmap(rows: Rows, domains: Sequence[str], *, metric: str = "R@5", title: str = "") -> Any:
    """R: one row per model version, one column per domain. The zero-shot row stands apart on top, domains not
    yet trained on are pale and hatched, the domain just trained on is framed.

    Args:
        rows: T + 1 rows of N percentages; row 0 is the untrained model.
        domains: the N names in stream order.
    """
    figure, axes = draw_heatmap(
        rows, ["zero-shot", *domains][: len(rows)], domains, first_apart=True,
        pale={(i, j) for i in range(len(rows)) for j in range(i, len(domains))},
        framed=[(i, i - 1) for i in range(1, min(len(rows), len(domains) + 1))],
    )  # fmt: skip
    how = f"{metric} in percent; framed: just trained, hatched: not trained yet"
    titled(axes, title, "evaluated on", "trained so far, up to", how)
    return figure


def compatibility_heatmap(
    matrix: Rows, versions: Sequence[str], *, metric: str = "R@5", title: str = ""
) -> Any:
    """C: queries by one model version (rows) against the gallery that another one indexed (columns).

    A cell below the diagonal is compatible when it beats the diagonal of its column: it is then framed.
    """
    compatible = [
        (i, j)
        for i, row in enumerate(matrix)
        for j, value in enumerate(row[:i])
        if value is not None and (own := matrix[j][j]) is not None and value > own
    ]
    figure, axes = draw_heatmap(matrix, versions, versions, framed=compatible)
    how = f"{metric} in percent; framed: beats the old model on its own gallery"
    titled(axes, title, "gallery indexed by", "queries by", how)
    return figure
