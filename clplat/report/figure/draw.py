"""Draw the sweep's own figure, or write it to its folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from clplat.errors import unknown_name
from clplat.files import write_atomically
from clplat.plots.styles import styles_of
from clplat.report.figure.lines import curve, lines
from clplat.report.figure.points import bars, heatmap, scatter
from clplat.report.figure.request import Drawing, FigureRequest
from clplat.report.outcome import Outcome, Runs, read_outcome, read_runs

__all__ = ["draw", "save_figure"]

_Kind = Callable[[FigureRequest], Drawing | None]
_KINDS: dict[str, _Kind] = {kind.__name__: kind for kind in (curve, scatter, lines, heatmap, bars)}


def draw(outcome: Outcome, out: Path, runs: Runs | None = None) -> Drawing | None:
    """The sweep's own figure in matplotlib, and what it says in words; None if there is nothing yet.

    Args:
        outcome: the content of ``sweep.json``. Its ``figure`` is None or a dict with ``kind``: ``curve``
            (``y``, measures, over ``x``, a dotted option; ``log``), ``scatter`` (``x`` and ``y``, measures),
            ``lines`` (``y`` over the groups), ``heatmap`` (methods x domains) or ``bars`` (``y``).
            A ``title`` is optional.
        out: the folder of the sweep; ``curve`` and ``heatmap`` read results there.
        runs: these results, if they were read already.

    Raises:
        UserError: an unknown kind or measure; the message names the allowed ones.

    Example:
        >>> draw({"figure": None, "rows": []}, Path(".")) is None
        True
    """
    figure, rows = outcome["figure"], outcome["rows"]
    if figure is None:
        return None
    kind = str(figure.get("kind"))
    if kind not in _KINDS:
        raise unknown_name("kind of figure", kind, _KINDS)
    if not rows:
        return None
    return _KINDS[kind](
        FigureRequest(outcome, rows, runs or read_runs(outcome, out), styles_of(rows), figure)
    )


def save_figure(out: Path) -> Path | None:
    """Write ``out/figure.png`` from ``out/sweep.json`` where `draw` gives a figure; its path, or None."""
    drawing = draw(read_outcome(out), out)
    if drawing is None:
        return None
    path = out / "figure.png"
    write_atomically(path, lambda temporary: drawing[0].savefig(temporary, format="png", dpi=130))
    return path
