"""Studies in tables: what was tried, what became of it, and which options mattered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from clplat.formats import number, setting, text
from clplat.measures import describe
from clplat.report.outcome import study_name
from clplat.report.studies import feasible
from clplat.report.tables import Cell, Column, Part, Table, numbers

__all__ = ["importance_table", "trials_table"]

_SIGNS = {"complete": "✓", "pruned": "|", "failed": "×", "running": "…", "waiting": "·"}


def trials_table(study: Mapping[str, Any]) -> Table:
    """One line a trial in the order of their numbers: state, values, parameters, and why it ended early."""
    trials, objectives = study["trials"], study["objectives"]
    options = list(dict.fromkeys([*study["space"], *(key for t in trials for key in t["params"])]))
    limited = sorted({name for trial in trials for name in trial["constraints"] if name not in objectives})
    told = any(trial["why"] for trial in trials)
    columns = [
        Column("trial", "name"),
        Column("state"),
        *numbers(*(describe(name).title for name in (*objectives, *limited)), *options),
        *([Column("why")] if told else []),
    ]

    def line(trial: Mapping[str, Any]) -> list[Cell]:
        broken = trial["state"] == "complete" and not feasible(trial)
        note = "best" if trial["number"] == study["best"] else "breaks a limit" if broken else ""
        values = trial["values"] or [None] * len(objectives)
        return [
            Cell(str(trial["number"]), note=note),
            Cell(f"{_SIGNS.get(trial['state'], '')} {trial['state']}"),
            *(Cell(text(name, value)) for name, value in zip(objectives, values, strict=True)),
            *(Cell(text(name, trial["measures"].get(name))) for name in limited),
            *(Cell(setting(trial["params"].get(option))) for option in options),
            *([Cell(trial["why"] or "")] if told else []),
        ]

    counts = Counter(trial["state"] for trial in trials)
    counted = ", ".join(f"{count} {state}" for state, count in counts.items())
    spent = study["spent"]
    took = [f"{number(spent['seconds'] / 60)} min"] if spent.get("seconds") is not None else []
    took += [f"{number(spent['tflops'])} TFLOP"] if spent.get("tflops") is not None else []
    caption = f"{study_name(study)}: {len(trials)} trials ({counted})" + (
        f"; spent {', '.join(took)}" if took else ""
    )
    return Table(caption, columns, [Part([line(t) for t in trials])], tall=len(trials) > 12)


def importance_table(study: Mapping[str, Any]) -> Table | None:
    """Options by importance, the greatest first; None if a study is too small to tell."""
    found = sorted(study["importances"].items(), key=lambda entry: -entry[1])
    if not found:
        return None
    lines = [[Cell(option), Cell(number(100 * share), bar=share)] for option, share in found]
    return Table(study_name(study), [Column("option", "name"), Column("share (%)", "bar")], [Part(lines)])
