"""The tables of a report as files for other programs."""

from __future__ import annotations

from pathlib import Path

from clplat.errors import unknown_name
from clplat.files import write_text
from clplat.plots.styles import styles_of
from clplat.report.outcome import read_outcome, read_runs
from clplat.report.page import answers, tuning
from clplat.report.tables import Table
from clplat.tables.export import FORMATS

__all__ = ["write_tables"]

_SUFFIXES = {"text": "txt", "csv": "csv", "latex": "tex", "markdown": "md"}


def write_tables(out: Path, form: str) -> list[Path]:
    """Write every table of a sweep's report into ``out/tables``: ``answer-1.csv``, ``costs-1.csv``, ...

    Args:
        out: the folder of the sweep.
        form: one of `clplat.tables.export.FORMATS`.

    Returns:
        The paths, in the order of the report.

    Raises:
        UserError: as `write_report`; an unknown format.
    """
    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    outcome = read_outcome(out)
    runs, styles = read_runs(outcome, out), styles_of(outcome["rows"])
    paths = []
    for name, section in (answers(outcome, runs, styles) | tuning(outcome, styles)).items():
        for place, table in enumerate(filter(None, section.tables), start=1):
            paths.append(out / "tables" / f"{name}-{place}.{_SUFFIXES[form]}")
            paths[-1].parent.mkdir(exist_ok=True)
            write_text(paths[-1], FORMATS[form](*_laid_out(table)) + "\n")
    return paths


def _laid_out(table: Table) -> tuple[list[str], list[list[str]], int]:
    """Head and lines of a table, what is drawn left out; rows of titled parts begin with their title."""
    columns = [column for column in table.columns if column.kind != "drawing"]
    titled = any(part.title for part in table.parts)
    body = []
    for part in table.parts:
        for row in part.rows:
            cells = [column.cell(row) for column in columns]
            body.append([part.title] * titled + [" ".join(filter(None, (c.text, c.note))) for c in cells])
    words = sum(column.kind in ("name", "text") for column in columns[:1]) + titled
    return ["part"] * titled + [column.title for column in columns], body, words
