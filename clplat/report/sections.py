"""The sections of the page, in order; one without data is left out."""

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

Groups = Mapping[str, Sequence[Row]]
Styles = Mapping[str, Style]
_COLUMN = 7.0  # inches: a wider figure needs the whole width, and scrolls on a phone


@dataclass(frozen=True)
class Section:
    """One heading with what is below it. ``lead`` says how to read it."""

    key: str
    title: str
    lead: str = ""
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    heats: Sequence[tuple[str, Sequence[Heat]]] = ()
    strong: str = ""
    small: bool = False

    def holds_something(self) -> bool:
        return bool(self.tables or self.pictures or self.heats or self.strong)


def sections(outcome: Outcome, runs: Runs, styles: Styles, out: Path) -> list[Section]:
    """What the sweep has to show, from the answer to the retrieval grids."""
    rows, primary = by_group(outcome["rows"]), outcome["primary"]
    every = [
        _answer(outcome, rows, styles),
        _comparisons(outcome, styles),
        _figure(outcome, runs, out),
        _stream(rows, runs, primary, styles),
        _matrices(rows, runs, primary),
        _plane(rows, primary, styles),
        _front(outcome, styles),
        _costs(rows),
        _importances(outcome),
        _trials(outcome, styles),
        _grids(rows, out),
    ]
    return [section for section in every if section.holds_something()]


def _pictures(drawings: Iterable[tuple[str, Drawing | None]]) -> list[Picture]:
    """Drawings with their captions; those that have nothing to show are left out."""
    return [Picture(svg_data(drawn[0]), drawn[1], caption) for caption, drawn in drawings if drawn]


def _answer(outcome: Outcome, groups: Groups, styles: Styles) -> Section:
    empty = "No method has finished yet: there is no answer so far."
    return Section(
        "answer",
        "Answer",
        "Compare methods within a table only." if len(groups) > 1 else "",
        strong=outcome["sentence"] or ("" if outcome["rows"] else empty),
        tables=[
            table
            for rows in groups.values()
            for table in (answer_table(rows, outcome, styles), measure_table(rows, outcome))
            if table
        ],
    )


def _comparisons(outcome: Outcome, styles: Styles) -> Section:
    what = "aired differences on equal seeds, stream orders and queries"
    return Section(
        "comparisons",
        "Which differences are significant",
        "A difference is called significant if its p-value, corrected for the number of comparisons (Holm), "
        "is below 0.05.",
        tables=[
            comparison_table(found, styles, f"{group}: p{what}" if group else f"P{what}")
            for group, found in by_group(outcome["comparisons"]).items()
        ],
    )


def _figure(outcome: Outcome, runs: Runs, out: Path) -> Section:
    drawn = draw_with_words(outcome, out, runs)
    wide = drawn is not None and drawn[0].get_figwidth() > _COLUMN
    return Section(
        "figure",
        "The question as a figure",
        "Error bars: the 95 % interval of the final score, one standard deviation of anything else.",
        pictures=[replace(picture, wide=wide) for picture in _pictures([("", drawn)])],
    )


def _stream(groups: Groups, runs: Runs, primary: str, styles: Styles) -> Section:
    return Section(
        "stream",
        "Over the stream",
        "Each line is the mean over replicates, the band their range. First: all domains, those to come "
        "included. Second: what happens to the domain that was trained first, the forgetting curve.",
        pictures=_pictures(
            (group, curves_of(rows, runs, primary, styles, column))
            for group, rows in groups.items()
            for column in (None, 0)
        ),
    )


def _matrices(groups: Groups, runs: Runs, primary: str) -> Section:
    return Section(
        "matrices",
        "Every domain after every domain",
        f"{primary} in percent, mean over replicates; down: trained so far, across: measured on. Framed: "
        "trained just now; pale and hatched: not trained yet. The colours have one scale within a group.",
        heats=[(group, maps) for group, rows in groups.items() if (maps := heat_maps(rows, runs, primary))],
    )


def _plane(groups: Groups, primary: str, styles: Styles) -> Section:
    return Section(
        "plane",
        "Plasticity and stability",
        "Right: new domains are learnt well. Up: earlier ones are kept. Bars: one standard deviation "
        "over replicates.",
        pictures=_pictures(
            (group, plasticity_stability(rows, primary, styles)) for group, rows in groups.items()
        ),
    )


def _front(outcome: Outcome, styles: Styles) -> Section:
    known = _styles_of_studies(outcome, styles)
    return Section(
        "front",
        "What tuning could trade",
        "Every finished trial of every study. Filled: all limits met; open: one is broken. The line joins "
        "(with three objectives, rings mark) the trials that no other one beats in everything.",
        pictures=_pictures(
            (group, pareto(studies, pair, outcome["primary"], known))
            for group, studies in by_group(outcome["studies"]).items()
            for pair in pairs(outcome)
        ),
    )


def _costs(groups: Groups) -> Section:
    return Section(
        "costs",
        "What it costs",
        "Means over replicates; a bar is the share of the most expensive method of the table. Backfill: "
        "gallery vectors that the last update changed.",
        tables=[
            table
            for group, rows in groups.items()
            if (table := cost_table(rows, f"{group}: costs of a run" if group else "Costs of a run"))
        ],
    )


def _importances(outcome: Outcome) -> Section:
    return Section(
        "importances",
        "Which options mattered",
        "The share of the spread between trials that an option explains.",
        tables=[table for study in outcome["studies"] if (table := importance_table(study))],
        small=True,
    )


def _trials(outcome: Outcome, styles: Styles) -> Section:
    studies, known = outcome["studies"], _styles_of_studies(outcome, styles)
    return Section(
        "trials",
        "Trials",
        "Trials see the validation split only. Filled: complete; open: breaks a limit; ticks on the floor: "
        "pruned; crosses: failed. The line is the best so far that meets every limit.",
        pictures=_pictures(("", history(study, outcome["primary"], known)) for study in studies),
        tables=[trials_table(study) for study in studies if study["trials"]],
    )


def _styles_of_studies(outcome: Outcome, styles: Styles) -> dict[str, Style]:
    return styles_of_methods((study["method"] for study in outcome["studies"]), outcome["rows"], styles)


def _grids(groups: Groups, out: Path) -> Section:
    return Section(
        "grids",
        "What is found",
        "Each line: the reference picture, the words, and what was found, best first. A thick frame with a "
        "tick is a right answer. The best contender and, for contrast, the last.",
        pictures=grid_pictures(next(iter(groups.values()), ()), out),
    )
