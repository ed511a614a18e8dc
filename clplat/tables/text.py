"""How a table of text is laid out: aligned, coloured for a terminal, or in markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from clplat.plots.colours import strategy_colour

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Body", "Head", "aligned", "coloured", "markdown", "mean_text", "mlflow_markdown"]

Head: TypeAlias = Sequence[str]
Body: TypeAlias = Sequence[Sequence[str]]


def mean_text(mean: float | None, digits: int, spread: float | None = None) -> str:
    """A number, behind it its spread if there is one; a dash if it is undefined."""
    if mean is None:
        return "–"
    return f"{mean:.{digits}f}" + ("" if spread is None else f"±{spread:.{digits}f}")


def aligned(head: Head, body: Body, words: int) -> str:
    """A table as text: the first ``words`` columns to the left, numbers to the right.

    Example:
        >>> print(aligned(["name", "n"], [["a", "10"]], 1))
        name   n
        a     10
    """
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    lines = []
    for line in (head, *body):
        cells = [cell.ljust(widths[i]) if i < words else cell.rjust(widths[i]) for i, cell in enumerate(line)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def coloured(head: Head, body: Body, words: int, strategies: Sequence[str]) -> Table:
    """A rich table: ``words`` columns of text, the last in its strategy's colour if it has one; numbers."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for index, name in enumerate(head):
        table.add_column(name, justify="left" if index < words else "right", overflow="fold")
    for cells, strategy in zip(body, strategies, strict=True):
        colour = strategy and strategy_colour(strategy)
        if colour and colour[1:3] == colour[3:5] == colour[5:]:  # black and grey vanish on a dark terminal
            colour = "dim"
        table.add_row(*(Text(cell, style=colour if i == words - 1 else "") for i, cell in enumerate(cells)))
    return table


def markdown(head: Head, body: Body, words: int) -> str:
    """A table for a page of documentation, numbers to the right."""
    rule = ["---" if i < words else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])


def mlflow_markdown(head: Head, body: Body) -> str:
    """A table that MLflow's pages can show: they set columns without any space, so each cell brings its own.

    Example:
        >>> print(mlflow_markdown(["R@5"], [["61.2"]]))
        |R@5&emsp;|
        |---|
        |61.2&emsp;|
    """
    lines = ["|" + "".join(f"{cell}&emsp;|" for cell in line) for line in [head, *body]]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])
