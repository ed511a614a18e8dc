"""From `sweep.json` to `report.html`: read, draw, fill the template, rename into place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clplat.files import write_text
from clplat.formats import number
from clplat.plots.styles import Style, styles_of, styles_of_methods
from clplat.report.answer import answer_table, comparison_table, cost_table, measure_tables
from clplat.report.appendix import facts, failure_table, folder_table, notices, stream_orders
from clplat.report.figure.draw import draw
from clplat.report.figure.lines import over_stream
from clplat.report.figure.points import scatter
from clplat.report.figure.request import FigureRequest
from clplat.report.heat import Heat, heat_maps
from clplat.report.outcome import Outcome, Runs, by_group, read_outcome, read_runs
from clplat.report.pictures import Picture, drawn_pictures, grid_pictures
from clplat.report.studies import history, importance_table, pairs, pareto, trials_table
from clplat.report.tables import Table

__all__ = ["write_report"]

Styles = Mapping[str, Style]


@dataclass(frozen=True)
class Section:
    """What a section shows; its title and explanation stand in the template."""

    tables: Sequence[Table | None] = ()
    pictures: Sequence[Picture] = ()
    heats: Sequence[tuple[str, Sequence[Heat]]] = ()
    strong: str = ""

    def __bool__(self) -> bool:
        """One that shows nothing is left out."""
        return bool(any(self.tables) or self.pictures or self.heats or self.strong)


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
    runs, styles = read_runs(outcome, out), styles_of(outcome["rows"])
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    templates.filters["number"] = number
    page = templates.get_template("page.html.j2").render(
        outcome=outcome,
        notices=notices(outcome, runs),
        sections=answers(outcome, runs, styles)
        | _figures(outcome, runs, styles, out)
        | tuning(outcome, styles),
        failures=failure_table(outcome, runs),
        facts=facts(outcome),
        orders=stream_orders(outcome),
        folders=folder_table(outcome["rows"]),
    )
    path = out / "report.html"
    write_text(path, page)
    return path


def answers(outcome: Outcome, runs: Runs, styles: Styles) -> dict[str, Section]:
    """Tables: the answer of each group with its other measures, what differs, what it costs, matrices."""
    groups, primary = by_group(outcome["rows"]), outcome["primary"]
    empty = "" if outcome["rows"] else "No method has finished yet: there is no answer so far."
    found: list[Table | None] = []
    for rows in groups.values():
        found += [answer_table(rows, outcome, styles), *measure_tables(rows, outcome)]
    compared = [comparison_table(entries, styles) for entries in by_group(outcome["comparisons"]).values()]
    heats = [(group, maps) for group, rows in groups.items() if (maps := heat_maps(rows, runs, primary))]
    return {
        "answer": Section(found, strong=outcome["sentence"] or empty),
        "comparisons": Section(compared),
        "costs": Section([cost_table(rows) for rows in groups.values()]),
        "matrices": Section(heats=heats),
    }


def _figures(outcome: Outcome, runs: Runs, styles: Styles, out: Path) -> dict[str, Section]:
    """Pictures: the sweep's own figure, what happened over the stream, what is found."""
    groups = by_group(outcome["rows"])
    requests = {group: FigureRequest(outcome, rows, runs, styles) for group, rows in groups.items()}
    stream = ((group, over_stream(r, first)) for group, r in requests.items() for first in (False, True))
    against = {"x": "plasticity", "y": "stability", "title": ""}
    planes = ((group, scatter(replace(r, figure=against))) for group, r in requests.items())
    return {
        "figure": Section(pictures=drawn_pictures([("", draw(outcome, out, runs))])),
        "stream": Section(pictures=drawn_pictures(stream)),
        "plane": Section(pictures=drawn_pictures(planes)),
        "grids": Section(pictures=grid_pictures(next(iter(groups.values()), ()), out, styles)),
    }


def tuning(outcome: Outcome, styles: Styles) -> dict[str, Section]:
    """What the studies tried, and what mattered."""
    studies, primary = outcome["studies"], outcome["primary"]
    known = styles_of_methods((study["method"] for study in studies), outcome["rows"], styles)
    fronts = (
        (group, pareto(found, pair, primary, known))
        for group, found in by_group(studies).items()
        for pair in pairs(outcome)
    )
    searches = (("", history(study, primary, known)) for study in studies)
    return {
        "front": Section(pictures=drawn_pictures(fronts)),
        "importances": Section([importance_table(study) for study in studies]),
        "trials": Section([trials_table(s) for s in studies if s["trials"]], drawn_pictures(searches)),
    }
