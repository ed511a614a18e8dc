"""The comparison of methods as a rich table, as plain text, and its answer in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clplat.measures import COMPARED, MEASURES
from clplat.roles import role_of
from clplat.tables import text

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["markdown", "plain", "render", "winner_line"]

Row = Mapping[str, Any]

# key, heading, digits; narrow, so that ten strategies with seeds fit into 80 columns
_COLUMNS = (("R1", "R@1", 1), ("R5", "R@5", 1), *((m.column, m.heading, m.digits) for m in COMPARED))
_LOST = MEASURES["forgetting"].column
_HEADLINE = (
    "score",
    "R1",
    "R5",
    _LOST,
    MEASURES["zero_shot"].column,
    MEASURES["trainable_parameters"].column,
)


def _heading(name: str) -> str:
    """``"R5"`` -> ``"R@5"``."""
    return name.replace("mAP", "mAP@") if name.startswith("mAP") else name.replace("R", "R@", 1)


def _number(row: Row, key: str, digits: int) -> str:
    value, spread = row.get(key), row.get(f"{key}_std")
    if value is None:
        return "–"
    shown = f"{value:.{digits}f}"
    # The spread of the two numbers that decide; of all of them it would only widen the table.
    decides = key in ("score", _LOST, row["primary"])
    return f"{shown}±{spread:.{digits}f}" if decides and spread is not None else shown


def _is_bound(row: Row) -> bool:
    return role_of(row) == "upper bound"


def _table(rows: Sequence[Row], keys: Sequence[str] | None = None) -> tuple[list[str], list[list[str]]]:
    columns: list[tuple[str, str, int]] = []
    primaries = sorted({row["primary"] for row in rows} - {"R1", "R5"})
    if primaries:
        columns.append(("score", "/".join(_heading(name) for name in primaries), 1))
    columns += [c for c in _COLUMNS if any(row.get(c[0]) is not None for row in rows)]
    columns = [column for column in columns if keys is None or column[0] in keys]
    scenarios = len({row["scenario"] for row in rows}) > 1
    seeds = any(row["n"] > 1 for row in rows)
    head = [*(["scenario"] if scenarios else []), "strategy", *(name for _, name, _ in columns)]
    head += ["n"] if seeds else []
    body = []
    for row in rows:
        bound = " (bound)" if _is_bound(row) else ""
        cells = [row["scenario"]] if scenarios else []
        cells += [row["label"] + bound, *(_number(row, key, digits) for key, _, digits in columns)]
        body.append(cells + ([str(row["n"])] if seeds else []))
    return head, body


def markdown(rows: Sequence[Row]) -> str:
    """The main columns as a markdown table, for a page of MLflow."""
    return text.mlflow_markdown(*_table(rows, _HEADLINE))


def render(rows: Sequence[Row], title: str | None = None) -> Table:
    """The rows as a rich table, each strategy in its colour."""
    head, body = _table(rows)
    best = _winners(rows)
    return text.coloured(head, body, _words(head), rows, [row in best for row in rows], title)


def plain(rows: Sequence[Row]) -> str:
    """The same table as text, for a pipe or a log file.

    Example:
        >>> plain([])
        'no complete runs'
    """
    if not rows:
        return "no complete runs"
    head, body = _table(rows)
    return text.aligned(head, body, _words(head))


def _words(head: Sequence[str]) -> int:
    return 2 if head[0] == "scenario" else 1


def _winners(rows: Sequence[Row]) -> list[Row]:
    """The best contender of each scenario."""
    best: dict[str, Row] = {}
    for row in _ranked(rows):
        if not _is_bound(row):
            best.setdefault(row["scenario"], row)
    return list(best.values())


def _ranked(rows: Sequence[Row]) -> list[Row]:
    return sorted((row for row in rows if row["score"] is not None), key=lambda row: -float(row["score"]))


def winner_line(rows: Sequence[Row]) -> str:
    """The answer, one line per scenario: the best contender, how far from the bound, and its lead.

    The noise of a lead is two standard errors of the difference of two means over seeds; with one seed there
    is no estimate, and the line says so.
    """
    lines = []
    for best in _winners(rows):
        ranked = [row for row in _ranked(rows) if row["scenario"] == best["scenario"]]
        said = (
            f"{best['label']} is best on {best['scenario']}: {_heading(best['primary'])} {best['score']:.1f}"
        )
        said += " after the last domain"
        bound = next((row for row in ranked if _is_bound(row)), None)
        if bound is not None:
            gap = bound["score"] - best["score"]
            said += f", {abs(gap):.1f} {'below' if gap >= 0 else 'above'} the bound ({bound['label']})"
        second = next((row for row in ranked if not _is_bound(row) and row is not best), None)
        lines.append(said + (_lead(best, second) if second else "; nothing else to compare with") + ".")
    return "\n".join(lines) or "No complete run yet."


def _lead(best: Row, second: Row) -> str:
    lead = best["score"] - second["score"]
    said = f"; {lead:.1f} ahead of {second['label']}"
    if best["score_std"] is None or second["score_std"] is None:
        return said + " (one seed: no noise estimate)"
    error = (best["score_std"] ** 2 / best["n"] + second["score_std"] ** 2 / second["n"]) ** 0.5
    seeds = f"{min(best['n'], second['n'])} seeds"
    return said + (f", within noise ({seeds})" if lead < 2 * error else f", more than noise ({seeds})")
