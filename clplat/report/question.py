"""The figure that a sweep asks for: `outcome["figure"]` says what is drawn against what."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from clplat.errors import unknown_name
from clplat.files import write_atomically
from clplat.report.asked import Asked, Drawing
from clplat.report.asked_lines import curve, lines
from clplat.report.asked_marks import bars, heatmap, scatter
from clplat.report.outcome import Outcome, Runs, read_outcome, read_runs
from clplat.report.styles import styles

__all__ = ["draw", "drawn_with_words", "save_question"]

_KINDS: dict[str, Callable[[Asked], Drawing]] = {
    "curve": curve,
    "scatter": scatter,
    "lines": lines,
    "heatmap": heatmap,
    "bars": bars,
}
_DPI = 130


def draw(outcome: Outcome, out: Path) -> Any | None:
    """The matplotlib figure of the sweep's own question; None if nothing is asked or nothing is there yet.

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
    drawn = drawn_with_words(outcome, out)
    return None if drawn is None else drawn[0]


def save_question(out: Path) -> Path | None:
    """Write ``out/figure.png`` from ``out/sweep.json`` where `draw` gives a figure; its path, or None."""
    figure = draw(read_outcome(out), out)
    if figure is None:
        return None
    path = out / "figure.png"
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=_DPI))
    return path


def drawn_with_words(outcome: Outcome, out: Path, runs: Runs | None = None) -> Drawing:
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
    return _KINDS[kind](Asked(outcome, figure, runs, styles(outcome["rows"])))
