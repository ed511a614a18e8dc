"""The table of a sweep for a terminal, a pipe or a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clplat.measures import MEASURES
from clplat.tables import text

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["markdown", "plain", "render", "table_of"]


def table_of(outcome: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heading and lines: the primary metric with its interval, what was lost, what it cost."""
    rows: Sequence[Mapping[str, Any]] = outcome["rows"]
    shown = [m for m in MEASURES.values() if m.heading and any(row["measures"].get(m.name) for row in rows)]
    groups = len({row["group"] for row in rows}) > 1
    limits = bool(outcome["constraints"])
    head = [*(["group"] if groups else []), "method", outcome["primary"], "95 % interval"]
    head += [measure.heading for measure in shown] + ["n"] + (["fits"] if limits else [])
    body = []
    for row in rows:
        score = row["score"]
        spread = "" if score["sd"] is None else f"±{score['sd']:.1f}"
        cells = [row["group"]] if groups else []
        cells += [row["label"] + (" (bound)" if row["bound"] else ""), f"{score['mean']:.1f}{spread}"]
        cells.append(f"{score['low']:.1f} to {score['high']:.1f}")
        for measure in shown:
            entry = row["measures"].get(measure.name)
            cells.append("–" if entry is None else f"{entry['mean'] / measure.scale:.{measure.digits}f}")
        cells.append(str(row["n"]))
        body.append(cells + (["yes" if row["feasible"] else "no"] if limits else []))
    return head, body


def plain(outcome: Mapping[str, Any]) -> str:
    """The table as text."""
    head, body = table_of(outcome)
    return text.aligned(head, body, _words(head))


def markdown(outcome: Mapping[str, Any]) -> str:
    """The table for a page of documentation."""
    head, body = table_of(outcome)
    return text.markdown(head, body, _words(head))


def render(outcome: Mapping[str, Any]) -> Table:
    """The table with each method in the colour of its strategy."""
    head, body = table_of(outcome)
    return text.coloured(head, body, _words(head), outcome["rows"])


def _words(head: Sequence[str]) -> int:
    return 2 if head[0] == "group" else 1
