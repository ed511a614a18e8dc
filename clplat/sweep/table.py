"""The table of a sweep as a person reads it in a terminal, a pipe or a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clplat.tracking.tables import aligned, drawn

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["markdown", "plain", "render", "table_of"]

# measure, heading, digits, unit; narrow, so that the table fits into 80 columns
_COLUMNS = (
    ("forgetting", "forgets", 1, 1.0),
    ("bwt", "BWT", 1, 1.0),
    ("fwt", "FWT", 1, 1.0),
    ("zero_shot", "0-shot", 0, 1.0),
    ("trainable_parameters", "M par", 3, 1e6),
    ("training_flops", "TFLOP", 1, 1e12),
    ("seconds", "sec", 0, 1.0),
)


def table_of(outcome: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heading and lines: the primary metric with its interval, what was lost, what it cost."""
    rows: Sequence[Mapping[str, Any]] = outcome["rows"]
    shown = [c for c in _COLUMNS if any(row["measures"].get(c[0]) for row in rows)]
    groups = len({row["group"] for row in rows}) > 1
    limits = bool(outcome["constraints"])
    head = [*(["group"] if groups else []), "method", outcome["primary"], "95 % interval"]
    head += [heading for _, heading, _, _ in shown] + ["n"] + (["fits"] if limits else [])
    body = []
    for row in rows:
        score = row["score"]
        spread = "" if score["sd"] is None else f"±{score['sd']:.1f}"
        cells = [row["group"]] if groups else []
        cells += [row["label"] + (" (bound)" if row["bound"] else ""), f"{score['mean']:.1f}{spread}"]
        cells.append(f"{score['low']:.1f} to {score['high']:.1f}")
        for name, _, digits, unit in shown:
            entry = row["measures"].get(name)
            cells.append("–" if entry is None else f"{entry['mean'] / unit:.{digits}f}")
        cells.append(str(row["n"]))
        body.append(cells + (["yes" if row["feasible"] else "no"] if limits else []))
    return head, body


def plain(outcome: Mapping[str, Any]) -> str:
    """The table as text."""
    head, body = table_of(outcome)
    return aligned(head, body, _words(head))


def markdown(outcome: Mapping[str, Any]) -> str:
    """The table for a page of documentation."""
    head, body = table_of(outcome)
    rule = ["---" if i < _words(head) else "---:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])


def render(outcome: Mapping[str, Any]) -> Table:
    """The table with each method in the colour of its strategy."""
    head, body = table_of(outcome)
    strategies = [str(row["strategy"]) for row in outcome["rows"]]
    return drawn(head, body, _words(head), strategies, [""] * len(body))


def _words(head: Sequence[str]) -> int:
    return 2 if head[0] == "group" else 1
