"""What each section of the page shows, by its key; titles and explanations stand in the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clplat.plots.canvas import svg_data
from clplat.plots.styles import Style, styles_of_methods
from clplat.report.answer import answer_table, comparison_table, cost_table, measure_table
from clplat.report.figure.draw import draw_with_words
from clplat.report.figures import Drawing, curves_of, plasticity_stability
from clplat.report.grids import Picture, grid_pictures
from clplat.report.heat import Heat, heat_maps
from clplat.report.outcome import Outcome, Row, Runs, by_group
from clplat.report.studies import history, pairs, pareto
from clplat.report.tables import Table
from clplat.report.trials import importance_table, trials_table

__all__ = ["Section", "sections"]

Styles = Mapping[str, Style]
_COLUMN = 7.0  # inches: a wider figure needs the whole width, and scrolls on a phone


@dataclass(frozen=True)
class Section:
    """What a section shows; one that shows nothing is left out."""

    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    heats: Sequence[tuple[str, Sequence[Heat]]] = ()
    strong: str = ""

    def __bool__(self) -> bool:
        return bool(self.tables or self.pictures or self.heats or self.strong)


def sections(outcome: Outcome, runs: Runs, styles: Styles, out: Path) -> dict[str, Section]:
    """The sections of the page, by key."""
    groups = by_group(outcome["rows"])
    return (
        _answer(outcome, groups, styles)
        | {"figure": Section(pictures=_figure(outcome, runs, out))}
        | _course(groups, runs, outcome["primary"], styles)
        | _tuning(outcome, styles)
        | {"grids": Section(pictures=grid_pictures(next(iter(groups.values()), ()), out))}
    )


def _pictures(drawings: Iterable[tuple[str, Drawing | None]]) -> list[Picture]:
    """Drawings with their captions; those that have nothing to show are left out."""
    return [Picture(svg_data(drawn[0]), drawn[1], caption) for caption, drawn in drawings if drawn]


def _tables(tables: Iterable[Table | None]) -> list[Table]:
    return [table for table in tables if table is not None]


def _answer(outcome: Outcome, groups: Mapping[str, Sequence[Row]], styles: Styles) -> dict[str, Section]:
    """The table of each group with its other measures, what differs, and what it costs."""
    answers = [
        (answer_table(rows, outcome, styles), measure_table(rows, outcome)) for rows in groups.values()
    ]
    empty = "" if outcome["rows"] else "No method has finished yet: there is no answer so far."
    paired = "aired differences on equal seeds, stream orders and queries"
    return {
        "answer": Section(
            strong=outcome["sentence"] or empty, tables=_tables(t for both in answers for t in both)
        ),
        "comparisons": Section(
            [
                comparison_table(found, styles, f"{group}: p{paired}" if group else f"P{paired}")
                for group, found in by_group(outcome["comparisons"]).items()
            ]
        ),
        "costs": Section(
            _tables(
                cost_table(rows, f"{group}: costs of a run" if group else "Costs of a run")
                for group, rows in groups.items()
            )
        ),
    }


def _figure(outcome: Outcome, runs: Runs, out: Path) -> list[Picture]:
    drawn = draw_with_words(outcome, out, runs)
    wide = drawn is not None and drawn[0].get_figwidth() > _COLUMN
    return [replace(picture, wide=wide) for picture in _pictures([("", drawn)])]


def _course(
    groups: Mapping[str, Sequence[Row]], runs: Runs, primary: str, styles: Styles
) -> dict[str, Section]:
    """What happened over the stream: curves, matrices, and what was learnt against what was kept."""
    curves = (
        (group, curves_of(rows, runs, primary, styles, column))
        for group, rows in groups.items()
        for column in (None, 0)
    )
    planes = ((group, plasticity_stability(rows, primary, styles)) for group, rows in groups.items())
    heats = [(group, maps) for group, rows in groups.items() if (maps := heat_maps(rows, runs, primary))]
    return {
        "stream": Section(pictures=_pictures(curves)),
        "matrices": Section(heats=heats),
        "plane": Section(pictures=_pictures(planes)),
    }


def _tuning(outcome: Outcome, styles: Styles) -> dict[str, Section]:
    """What the studies tried, and what mattered."""
    studies, primary = outcome["studies"], outcome["primary"]
    known = styles_of_methods((study["method"] for study in studies), outcome["rows"], styles)
    fronts = (
        (group, pareto(found, pair, primary, known))
        for group, found in by_group(studies).items()
        for pair in pairs(outcome)
    )
    return {
        "front": Section(pictures=_pictures(fronts)),
        "importances": Section(_tables(map(importance_table, studies))),
        "trials": Section(
            [trials_table(study) for study in studies if study["trials"]],
            _pictures(("", history(study, primary, known)) for study in studies),
        ),
    }
