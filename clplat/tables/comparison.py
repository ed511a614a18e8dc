"""The comparison of methods as plain text and as markdown."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from clplat.measures import COMPARED, MEASURES
from clplat.roles import role_of
from clplat.tables.export import FORMATS
from clplat.tables.text import mean_text, mlflow_markdown

__all__ = ["markdown", "plain"]

Row = Mapping[str, Any]

# key, heading, digits; narrow, so that ten strategies with seeds fit into 80 columns
_COLUMNS = (("R1", "R@1", 1), ("R5", "R@5", 1), *((m.column, m.heading, m.digits) for m in COMPARED))
_LOST = MEASURES["forgetting"].column
_MAIN = (
    "score",
    "R1",
    "R5",
    *(MEASURES[m].column for m in ("forgetting", "zero_shot", "trainable_parameters")),
)


def _heading(name: str) -> str:
    """``"R5"`` -> ``"R@5"``."""
    return re.sub(r"^(R|mAP)(?=\d)", r"\1@", name)


def _number(row: Row, key: str, digits: int) -> str:
    # The spread of the two numbers that decide; of all of them it would only widen the table.
    decides = key in ("score", _LOST, row["primary"])
    return mean_text(row.get(key), digits, row.get(f"{key}_std") if decides else None)


def _is_bound(row: Row) -> bool:
    return role_of(row) == "upper bound"


def _table(rows: Sequence[Row], keys: Sequence[str] | None = None) -> tuple[list[str], list[list[str]], int]:
    """Head, lines, and how many columns are words; of the columns only those in ``keys``, if given."""
    primaries = sorted({row["primary"] for row in rows} - {"R1", "R5"})
    own = [("score", "/".join(map(_heading, primaries)), 1)] if primaries else []
    columns = own + [c for c in _COLUMNS if any(row.get(c[0]) is not None for row in rows)]
    columns = [column for column in columns if keys is None or column[0] in keys]
    scenarios = len({row["scenario"] for row in rows}) > 1
    seeds = any(row["n"] > 1 for row in rows)
    head = ["scenario"] * scenarios + ["strategy", *(name for _, name, _ in columns)] + ["n"] * seeds
    body = [
        [row["scenario"]] * scenarios
        + [
            row["label"] + " (bound)" * _is_bound(row),
            *(_number(row, key, digits) for key, _, digits in columns),
        ]
        + [str(row["n"])] * seeds
        for row in rows
    ]
    for scenario, row in {row["scenario"]: row for row in rows if row.get("chance") is not None}.items():
        level = mean_text(row["chance"], 1)
        cells = [level if key in ("score", row["primary"]) else "–" for key, _, _ in columns]
        body.append([scenario] * scenarios + ["chance", *cells] + ["–"] * seeds)
    return head, body, 1 + scenarios


def markdown(rows: Sequence[Row]) -> str:
    """The main columns as a markdown table, for a page of MLflow."""
    head, body, _ = _table(rows, _MAIN)
    return mlflow_markdown(head, body)


def plain(rows: Sequence[Row], form: str = "text") -> str:
    """The table as text, or in another of `clplat.tables.export.FORMATS`.

    Example:
        >>> plain([])
        'no complete runs'
    """
    return FORMATS[form](*_table(rows)) if rows else "no complete runs"
