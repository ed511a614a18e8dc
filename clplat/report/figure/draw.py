"""Draw the sweep's own figure, or write it to its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clplat.errors import unknown_name
from clplat.files import write_atomically
from clplat.plots.styles import styles_of
from clplat.report.figure.lines import curve, lines
from clplat.report.figure.points import bars, heatmap, scatter
from clplat.report.figure.request import FigureRequest
from clplat.report.figures import Drawing
from clplat.report.outcome import Outcome, Runs, read_outcome, read_runs

__all__ = ["draw", "draw_with_words", "save_figure"]

_KINDS: dict[str, Callable[[FigureRequest], Drawing | None]] = {
    "curve": curve,
    "scatter": scatter,
    "lines": lines,
    "heatmap": heatmap,
    "bars": bars,
}
_DPI = 130


def draw(outcome: Outcome, out: Path) -> Any | None:
    """The sweep's own figure in matplotlib; None if it has none or nothing is there yet.

    Args:
        outcome: the content of ``sweep.json``. Its ``figure`` is None or a dict with ``kind``: ``curve``
            (``y``, measures, over ``x``, a dotted option; ``log``), ``scatter`` (``x`` and ``y``, measures),
            ``lines`` (``y`` over the groups), ``heatmap`` (methods x domains) or ``bars`` (``y``).
            A ``title`` is optional.
        out: the folder of the sweep; ``curve`` and ``heatmap`` read results there.

    Raises:
        UserError: an unknown kind or measure; the message names the allowed ones.

    Example:
        >>> draw({"figure": None, "rows": []}, Path(".")) is None
        True
    """
    drawing = draw_with_words(outcome, out)
    return None if drawing is None else drawing[0]


def save_figure(out: Path) -> Path | None:
    """Write ``out/figure.png`` from ``out/sweep.json`` where `draw` gives a figure; its path, or None."""
    figure = draw(read_outcome(out), out)
    if figure is None:
        return None
    path = out / "figure.png"
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=_DPI))
    return path


def draw_with_words(outcome: Outcome, out: Path, runs: Runs | None = None) -> Drawing | None:
    """`draw`, and what the figure says in words; ``runs`` if they were read already."""
    figure = outcome["figure"]
    if figure is None:
        return None
    kind = str(figure.get("kind"))
    if kind not in _KINDS:
        raise unknown_name("kind of figure", kind, _KINDS)
    if not outcome["rows"]:
        return None
    runs = read_runs(outcome, out) if runs is None else runs
    return _KINDS[kind](FigureRequest(outcome, figure, runs, styles_of(outcome["rows"])))
