"""R and C as heat maps, and the canvas that all figures share: no global matplotlib state, no MLflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from clplat.tracking.labels import named

__all__ = ["INK", "SOFT", "Rows", "accuracy_heatmap", "canvas", "compatibility_heatmap", "headline"]

Rows = Sequence[Sequence[float | None]]

INK, SOFT = "#222222", "#6b6b6b"


def canvas(width: float, height: float) -> tuple[Any, Any]:
    """A figure and its bare axes, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.tick_params(length=0, colors=INK, labelsize=9)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure, axes


def headline(axes: Any, title: str, subtitle: str) -> None:
    """A bold title, and below it how to read the figure."""
    axes.set_title(
        f"{named(title, 60)}\n" if title else "\n", loc="left", fontsize=12, fontweight="bold", color=INK
    )
    axes.text(0, 1.02, subtitle, transform=axes.transAxes, fontsize=9, color=SOFT, va="bottom")


def _cells(axes: Any, rows: Rows, offsets: Sequence[float], pale: Callable[[int, int], bool]) -> None:
    """Draw each value as a coloured square with its number; ``pale`` says which cells recede."""
    from matplotlib import colormaps
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    known = [value for row in rows for value in row if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    scale = Normalize(low - 0.25 * (high - low), high if high > low else low + 1)
    colours = colormaps["viridis"]
    size = 9 if max(len(rows), len(rows[0]) if rows else 0) <= 10 else 6
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            if value is None:
                continue
            soft = pale(i, j)
            red, green, blue, _ = colours(scale(value))
            # Receding cells keep their hue but lose most of it, and are hatched for black-and-white print.
            mix = [0.35 * channel + 0.65 for channel in (red, green, blue)] if soft else [red, green, blue]
            axes.add_patch(
                Rectangle(
                    (j + 0.02, offsets[i] + 0.02), 0.96, 0.96, facecolor=mix, linewidth=0,
                    hatch="//" if soft else None, edgecolor="#ffffff",
                )
            )  # fmt: skip
            dark = 0.3 * mix[0] + 0.59 * mix[1] + 0.11 * mix[2] < 0.42
            axes.text(
                j + 0.5, offsets[i] + 0.5, f"{value:.1f}", ha="center", va="center", fontsize=size,
                color="white" if dark else INK,
            )  # fmt: skip


def _frame(axes: Any, columns: Sequence[str], rows: Sequence[str], offsets: Sequence[float]) -> None:
    axes.set_xlim(-0.02, len(columns) + 0.02)
    axes.set_ylim(offsets[-1] + 1.02, -0.02)
    axes.set_aspect("equal" if len(columns) > 2 else "auto")
    slant = (
        {"rotation": 35, "ha": "right", "rotation_mode": "anchor"}
        if max(map(len, columns)) > 9 or len(columns) > 8
        else {}
    )
    axes.set_xticks([j + 0.5 for j in range(len(columns))], [named(name, 16) for name in columns], **slant)
    axes.set_yticks([offset + 0.5 for offset in offsets], [named(name, 24) for name in rows])


def accuracy_heatmap(rows: Rows, domains: Sequence[str], *, metric: str = "R@5", title: str = "") -> Any:
    """R: one row per model version, one column per domain. The zero-shot row stands apart on top, domains not
    yet trained on are pale and hatched, the domain just trained on is framed.

    Args:
        rows: T + 1 rows of N percentages; row 0 is the untrained model.
        domains: the N names in stream order.
    """
    from matplotlib.patches import Rectangle

    count = len(domains)
    figure, axes = canvas(2.6 + 0.85 * max(count, 3), 1.9 + 0.75 * len(rows))
    offsets = [float(i) if i == 0 else i + 0.25 for i in range(len(rows))]
    _cells(axes, rows, offsets, lambda i, j: j >= i)
    for i in range(1, min(len(rows), count + 1)):
        axes.add_patch(Rectangle((i - 1 + 0.03, offsets[i] + 0.03), 0.94, 0.94, fill=False, ec=INK, lw=2))
    _frame(axes, domains, ["zero-shot", *domains][: len(rows)], offsets)
    axes.set_xlabel("evaluated on", color=SOFT, fontsize=9)
    axes.set_ylabel("trained so far, up to", color=SOFT, fontsize=9)
    headline(axes, title, f"{metric} in percent; framed: just trained, hatched: not trained yet")
    return figure


def compatibility_heatmap(
    matrix: Rows, versions: Sequence[str], *, metric: str = "R@5", title: str = ""
) -> Any:
    """C: queries by one model version (rows) against the gallery that another one indexed (columns).

    A cell below the diagonal is compatible when it beats the diagonal of its column: it is then framed.
    """
    from matplotlib.patches import Rectangle

    count = len(matrix)
    figure, axes = canvas(2.8 + 0.85 * max(count, 3), 1.9 + 0.75 * count)
    offsets = [float(i) for i in range(count)]
    _cells(axes, matrix, offsets, lambda i, j: False)
    for i, row in enumerate(matrix):
        for j, value in enumerate(row[:i]):
            own = matrix[j][j]
            if value is not None and own is not None and value > own:
                axes.add_patch(Rectangle((j + 0.03, i + 0.03), 0.94, 0.94, fill=False, ec=INK, lw=2))
    _frame(axes, versions, versions, offsets)
    axes.set_xlabel("gallery indexed by", color=SOFT, fontsize=9)
    axes.set_ylabel("queries by", color=SOFT, fontsize=9)
    headline(axes, title, f"{metric} in percent; framed: beats the old model on its own gallery")
    return figure
