"""From `sweep.json` to `report.html`: read, draw, fill the template, rename into place."""

from __future__ import annotations

from pathlib import Path

from clplat.files import write_text
from clplat.plots.styles import styles_of
from clplat.report.appendix import facts, failure_table, folder_table, notices
from clplat.report.outcome import read_outcome, read_runs
from clplat.report.sections import sections

__all__ = ["write_report"]


def write_report(out: Path) -> Path:
    """Write ``out/report.html`` from ``out/sweep.json`` and the runs that it names; equal input, equal bytes.

    A sweep that is running or partly failed has a report too: it says what is missing.

    Args:
        out: the folder of the sweep.

    Returns:
        The path of the page: one file that needs no other and no network.

    Raises:
        UserError: ``sweep.json`` is missing, broken or of another schema; its figure names something
            unknown; the disk is full.

    Example:
        >>> write_report(Path("runs/none"))
        Traceback (most recent call last):
        clplat.errors.UserError: no such file: runs/none/sweep.json
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    outcome = read_outcome(out)
    runs = read_runs(outcome, out)
    styles = styles_of(outcome["rows"])
    house = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = house.get_template("page.html.j2").render(
        outcome=outcome,
        paragraphs=[part for part in outcome["question"].split("\n\n") if part.strip()],
        notices=notices(outcome, runs),
        sections=sections(outcome, runs, styles, out),
        failures=failure_table(outcome, runs),
        facts=facts(outcome),
        folders=folder_table(outcome["rows"]),
    )
    path = out / "report.html"
    write_text(path, page)
    return path
