"""The table of a sweep for a terminal, a pipe or a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from clplat.measures import MEASURES
from clplat.tables.text import mean_text

__all__ = ["chance_levels", "meets_limits", "sweep_table"]


def sweep_table(outcome: Mapping[str, Any]) -> tuple[list[str], list[list[str]], int]:
    """The primary metric with its interval, what was lost, what it cost: what `clplat.tables.text` lays out.

    Returns:
        Head, lines, and how many columns are words.
    """
    rows: Sequence[Mapping[str, Any]] = outcome["rows"]
    shown = [m for m in MEASURES.values() if m.heading and any(row["measures"].get(m.name) for row in rows)]
    groups = len({row["group"] for row in rows}) > 1
    limits = bool(outcome["constraints"])
    head = ["group"] * groups + [
        "method",
        outcome["primary"],
        "95 % interval",
        *(m.heading for m in shown),
        "n",
    ]
    body = []
    for row in rows:
        score = row["score"]
        cells = [row["label"] + " (bound)" * row["bound"], mean_text(score["mean"], 1, score["sd"])]
        cells.append(f"{score['low']:.1f} to {score['high']:.1f}")
        for measure in shown:
            entry = row["measures"].get(measure.name)
            cells.append(mean_text(entry and entry["mean"] / measure.scale, measure.digits))
        fits = [meets_limits(row, outcome["constraints"])] * limits
        body.append([row["group"]] * groups + cells + [str(row["n"]), *fits])
    for group, chance in chance_levels(rows).items():
        cells = ["chance", mean_text(chance, 1), *["–"] * (len(shown) + 2 + limits)]
        body.append([group] * groups + cells)
    return head + ["fits"] * limits, body, 1 + groups


def chance_levels(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Group -> what an order at random would score, where the rows of a sweep say it."""
    known = [(row["group"], row["chance"]) for row in rows if row.get("chance") is not None]
    return dict(known)


def meets_limits(row: Mapping[str, Any], limits: Iterable[str]) -> str:
    """Whether a row of a sweep meets its limits, in a word: ``yes``, ``no``, or ``undefined`` for a measure.

    Example:
        >>> meets_limits({"feasible": False, "measures": {"forgetting": None}}, ["forgetting"])
        'undefined'
    """
    if any(row["measures"].get(name) is None for name in limits if name != "final"):  # the score of the row
        return "undefined"
    return "yes" if row["feasible"] else "no"
