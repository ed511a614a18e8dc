"""Studies in tables: what was tried, what became of it, and which options mattered."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from clplat.formats import number, setting, text
from clplat.measures import describe
from clplat.report.outcome import study_name
from clplat.report.studies import counted, feasible
from clplat.report.tables import Cell, Column, Part, Table

__all__ = ["importance_table", "trials_table"]

_SIGNS = {"complete": "✓", "pruned": "|", "failed": "×", "running": "…", "waiting": "·"}


def trials_table(study: Mapping[str, Any]) -> Table:
    """One line per trial in the order of their numbers: state, values, parameters, and why it ended early."""
    trials, objectives = study["trials"], study["objectives"]
    options = list(dict.fromkeys([*study["space"], *(key for t in trials for key in t["params"])]))
    limited = sorted({name for trial in trials for name in trial["constraints"] if name not in objectives})

    def trial_number(trial: Mapping[str, Any]) -> Cell:
        broken = trial["state"] == "complete" and not feasible(trial)
        note = "best" if trial["number"] == study["best"] else "breaks a limit" if broken else ""
        return Cell(str(trial["number"]), note=note)

    def value(name: str, trial: Mapping[str, Any]) -> str:
        if name not in objectives:
            return text(name, trial["measures"].get(name))
        return text(name, trial["values"][objectives.index(name)] if trial["values"] else None)

    columns = [
        Column("trial", trial_number, "name"),
        Column("state", lambda trial: f"{_SIGNS.get(trial['state'], '')} {trial['state']}"),
        *(Column(describe(name).title, partial(value, name), "number") for name in (*objectives, *limited)),
        *(Column(name, partial(_option, name), "number") for name in options),
    ]
    if any(trial["why"] for trial in trials):
        columns.append(Column("why", lambda trial: trial["why"] or ""))
    spent = study["spent"]
    took = [f"{number(spent['seconds'] / 60)} min"] if spent.get("seconds") is not None else []
    took += [f"{number(spent['tflops'])} TFLOP"] if spent.get("tflops") is not None else []
    caption = f"{study_name(study)}: {counted(trials)}" + (f"; spent {', '.join(took)}" if took else "")
    return Table(caption, columns, [Part(trials)], tall=len(trials) > 12)


def _option(name: str, trial: Mapping[str, Any]) -> str:
    return setting(trial["params"].get(name))


def importance_table(study: Mapping[str, Any]) -> Table | None:
    """Options by importance, the greatest first; None if a study is too small for that."""
    found = sorted(study["importances"].items(), key=lambda entry: -entry[1])
    columns = [
        Column("option", lambda entry: str(entry[0]), "name"),
        Column("share (%)", lambda entry: Cell(number(100 * entry[1]), bar=entry[1]), "bar"),
    ]
    return Table(study_name(study), columns, [Part(found)]) if found else None
