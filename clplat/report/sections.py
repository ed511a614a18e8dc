"""The sections of the page, in order; one without data is left out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clplat.report.answer import answer_table, comparison_table, cost_table, measure_table
from clplat.report.canvases import jpeg_data, svg_data
from clplat.report.figures import plane, stream_curves
from clplat.report.heat import Heat, heat_maps
from clplat.report.outcome import Outcome, Runs, groups, is_contender
from clplat.report.question import drawn_with_words
from clplat.report.studies import history, pairs, pareto
from clplat.report.styles import Style, of_methods
from clplat.report.tables import Table
from clplat.report.trials import importance_table, trials_table

__all__ = ["Picture", "Section", "sections"]

Row = Mapping[str, Any]
_COLUMN = 7.0  # inches: a wider figure needs the whole width, and scrolls on a phone


@dataclass(frozen=True)
class Picture:
    """A figure as ``data:`` address, what it says in words, a caption; ``wide`` ones take all the width."""

    data: str
    says: str
    caption: str = ""
    wide: bool = False
    size: tuple[int, int] | None = None


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
    small: bool = field(default=False)

    def holds_something(self) -> bool:
        return bool(self.tables or self.pictures or self.heats or self.strong)


def sections(outcome: Outcome, runs: Runs, look: Mapping[str, Style], out: Path) -> list[Section]:
    """What the sweep has to show, from the answer to the retrieval grids."""
    by_group, primary = groups(outcome), outcome["primary"]
    every = [
        _answer(outcome, by_group, look),
        _comparisons(outcome, look),
        _question(outcome, runs, out),
        Section(
            "stream", "Over the stream",
            "Each line is the mean over replicates, the band their range. First: all domains, those to come "
            "included. Second: what happens to the domain that was trained first, the forgetting curve.",
            pictures=[
                _drawn(drawn, group)
                for group, rows in by_group.items()
                for column in (None, 0)
                if (drawn := stream_curves(rows, runs, primary, look, column))
            ],
        ),
        Section(
            "matrices", "Every domain after every domain",
            f"{primary} in percent, mean over replicates; down: trained so far, across: measured on. Framed: "
            "trained just now; pale and hatched: not trained yet. The colours have one scale within a group.",
            heats=[(g, maps) for g, rows in by_group.items() if (maps := heat_maps(rows, runs, primary))],
        ),
        Section(
            "plane", "Plasticity and stability",
            "Right: new domains are learnt well. Up: earlier ones are kept. Bars: one standard deviation "
            "over replicates.",
            pictures=[
                _drawn(drawn, group)
                for group, rows in by_group.items()
                if (drawn := plane(rows, primary, look))
            ],
        ),
        _front(outcome, look),
        Section(
            "costs", "What it costs",
            "Means over replicates; a bar is the share of the most expensive method of the table. Backfill: "
            "gallery vectors that the last update changed.",
            tables=[
                table
                for group, rows in by_group.items()
                if (table := cost_table(rows, f"{group}: costs of a run" if group else "Costs of a run"))
            ],
        ),
        Section(
            "importances", "Which options mattered",
            "The share of the spread between trials that an option explains.",
            tables=[table for study in outcome["studies"] if (table := importance_table(study))], small=True,
        ),
        _trials(outcome, look),
        _grids(by_group, out),
    ]  # fmt: skip
    return [section for section in every if section.holds_something()]


def _drawn(drawn: tuple[Any, str], caption: str = "", wide: bool = False) -> Picture:
    return Picture(svg_data(drawn[0]), drawn[1], caption, wide)


def _answer(outcome: Outcome, by_group: Mapping[str, Sequence[Row]], look: Mapping[str, Style]) -> Section:
    empty = "No method has finished yet: there is no answer so far."
    return Section(
        "answer",
        "Answer",
        "Compare methods within a table only." if len(by_group) > 1 else "",
        strong=outcome["sentence"] or ("" if outcome["rows"] else empty),
        tables=[
            table
            for rows in by_group.values()
            for table in (answer_table(rows, outcome, look), measure_table(rows, outcome))
            if table
        ],
    )


def _comparisons(outcome: Outcome, look: Mapping[str, Style]) -> Section:
    entries: dict[str, list[Mapping[str, Any]]] = {}
    for entry in outcome["comparisons"]:
        entries.setdefault(entry["group"], []).append(entry)
    caption = "Paired differences on equal seeds, stream orders and queries"
    return Section(
        "comparisons",
        "Which differences are significant",
        "A difference is called significant if its p-value, corrected for the number of comparisons (Holm), "
        "is below 0.05.",
        tables=[
            comparison_table(found, look, f"{group}: {caption[0].lower()}{caption[1:]}" if group else caption)
            for group, found in entries.items()
        ],
    )


def _question(outcome: Outcome, runs: Runs, out: Path) -> Section:
    drawn = drawn_with_words(outcome, out, runs)
    lead = "Error bars: the 95 % interval of the final score, one standard deviation of anything else."
    pictures = [_drawn(drawn, wide=drawn[0].get_figwidth() > _COLUMN)] if drawn else []
    return Section("figure", "The question as a figure", lead, pictures=pictures)


def _front(outcome: Outcome, look: Mapping[str, Style]) -> Section:
    studies: dict[str, list[Mapping[str, Any]]] = {}
    for study in outcome["studies"]:
        studies.setdefault(study["group"], []).append(study)
    known = of_methods((study["method"] for study in outcome["studies"]), outcome["rows"], look)
    return Section(
        "front",
        "What tuning could trade",
        "Every finished trial of every study. Filled: all limits met; open: one is broken. The line joins "
        "(with three objectives, rings mark) the trials that no other one beats in everything.",
        pictures=[
            _drawn(drawn, group)
            for group, found in studies.items()
            for pair in pairs(outcome)
            if (drawn := pareto(found, pair, outcome["primary"], known))
        ],
    )


def _trials(outcome: Outcome, look: Mapping[str, Style]) -> Section:
    studies = outcome["studies"]
    known = of_methods((study["method"] for study in studies), outcome["rows"], look)
    drawn = [figure for study in studies if (figure := history(study, outcome["primary"], known))]
    return Section(
        "trials",
        "Trials",
        "Trials see the validation split only. Filled: complete; open: breaks a limit; ticks on the floor: "
        "pruned; crosses: failed. The line is the best so far that meets every limit.",
        pictures=[_drawn(figure) for figure in drawn],
        tables=[trials_table(study) for study in studies if study["trials"]],
    )


def _grids(by_group: Mapping[str, Sequence[Row]], out: Path) -> Section:
    """The same queries before and after, for the best contender and, as a contrast, for the last one."""
    rows = next(iter(by_group.values()), ())
    shown = [row for row in rows if is_contender(row)] or list(rows)
    chosen = shown[:1] + (shown[-1:] if len(shown) > 1 else [])
    pictures: list[Picture] = []
    seen: set[str] = set()
    for row in chosen:
        folder = next((out / name for name in row["folders"] if (out / name / "grids").is_dir()), None)
        steps = [] if folder is None else sorted((folder / "grids").glob("step_*.png"), key=_step)
        for path in dict.fromkeys([*steps[:1], *steps[-1:]]):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest in seen:  # untrained models find the same
                continue
            seen.add(digest)
            try:
                data, *size = jpeg_data(path)
            except OSError:  # an illustration that cannot be read must not cost the page
                continue
            when = "Before training" if _step(path) == 0 else f"After {_step(path)} domains: {row['label']}"
            says = f"{when}: queries, each a reference and words, with their best answers in order."
            pictures.append(Picture(data, says, when, wide=True, size=(size[0], size[1])))
    return Section(
        "grids",
        "What is found",
        "Each line: the reference picture, the words, and what was found, best first. A thick frame with a "
        "tick is a right answer. The best contender and, for contrast, the last.",
        pictures=pictures,
    )


def _step(path: Path) -> int:
    number = path.stem.rpartition("_")[2]
    return int(number) if number.isdigit() else -1
