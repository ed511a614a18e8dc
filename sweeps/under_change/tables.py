"""The tables of the page: composers by strategy, what a query takes, what failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.measures import mean_of
from clplat.tables.text import markdown, mean_text
from sweeps.under_change.cells import STRATEGIES
from sweeps.under_change.latency import SIZES
from sweeps.under_change.reading import Line, Row, below_text, change, forgets

__all__ = ["failures", "latency_table", "table"]

_SHORT = {"backward_compatible": "compatible"}
_HEAD = (
    "composer", "untrained", *(_SHORT.get(name, name) for name in STRATEGIES),
    *(f"forgets {name[0]}" for name in STRATEGIES), "new", "old n", "old b", "old change", "held out",
    "shown", "text", "picture",
)  # fmt: skip


def table(lines: Sequence[Line]) -> list[str]:
    """Lines of a stream as Markdown."""
    return [markdown(_HEAD, [_cells(line) for line in lines], 1)]


def _cells(line: Line) -> list[str]:
    of = line.rows.values() if not line.trained else line.trained
    return [
        _named(line),
        mean_text(line.untrained, 1) + _below_untrained(line),
        *(_final(line, name) for name in STRATEGIES),
        *(_of(line, name, forgets) for name in STRATEGIES),
        _new(line),
        *(_of(line, name, lambda row: row["more"]["old_index"], 0) for name in ("naive", STRATEGIES[-1])),
        _signed(line.mean(lambda row: row["more"]["old_index_change"])),
        *(mean_text(_mean(of, name), 1) for name in ("held_out", "shown", "text_alone", "picture_alone")),
    ]


def _named(line: Line) -> str:
    if line.blind:
        return f"**{line.name.replace('_', ' ')}**"
    return ", ".join(f"`{name}`" for name in (line.name, *line.same))


def _below_untrained(line: Line) -> str:
    """The mark of a line where nothing was trained."""
    return _mark(line, next(iter(line.rows.values()))) if not line.trained else ""


def _mark(line: Line, row: Row) -> str:
    return " †" if not line.blind and below_text(row) else ""


def _final(line: Line, strategy: str) -> str:
    row = line.rows.get(strategy)
    return "–" if row is None else mean_text(row["score"]["mean"], 1) + _mark(line, row)


def _of(line: Line, strategy: str, value: Any, digits: int = 1) -> str:
    row = line.rows.get(strategy)
    return "–" if row is None else mean_text(value(row), digits)


def _new(line: Line) -> str:
    found, moved = line.mean(lambda row: row["more"]["new"]), line.mean(_moved)
    return "–" if found is None or moved is None else f"{found:.1f} ({moved:+.1f})"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"


def _moved(row: Row) -> float | None:
    return change(row, "new", "new_before")


def _mean(rows: Any, name: str) -> float | None:
    return mean_of(row["more"][name] for row in rows)


def latency_table(composers: Mapping[str, Any]) -> list[str]:
    """What a query of each composer takes, the fastest first."""
    head = ["composer", "weights"]
    for size in SIZES:
        head += [f"composer, {size}", f"query, {size}", f"of a sum, {size}"]
    body = []
    for name, one in sorted(composers.items(), key=lambda item: item[1]["ms"]["1"]["query"]):
        cells = [f"`{name}`", f"{one['parameters']:,}"]
        for size in SIZES:
            ms = one["ms"][str(size)]
            cells += [f"{ms['composer']:.2f}", f"{ms['query']:.1f}", f"{ms['ratio']:.2f}"]
        body.append(cells)
    return [markdown(head, body, 1)]


def failures(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What failed and why, by composer, and how many cells have not run."""
    failed: dict[str, list[str]] = {}
    for row in rows:
        if row["failed"]:
            failed.setdefault(row["composer"], []).append(row["failed"][0])
    lines = [f"- `{name}`, {len(why)} cells: {why[0]}" for name, why in failed.items()]
    found = ["**Failed**:", "", *lines, ""] if lines else []
    waiting = list(dict.fromkeys(f"`{row['composer']}`" for row in rows if row["missing"] and not row["n"]))
    return [*found, *([f"**Not all cells have run** of: {', '.join(waiting)}.", ""] if waiting else [])]
