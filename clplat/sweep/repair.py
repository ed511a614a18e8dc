"""A damaged record of a sweep is made anew from its runs: they hold their configurations and results."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from clplat.config.differences import differences
from clplat.config.resolve import completed
from clplat.documents.result import read_result
from clplat.dotted import registered_only
from clplat.errors import UserError
from clplat.files import read_text
from clplat.locks import is_locked, locked
from clplat.measures import evaluate_measures
from clplat.runs.run_folder import RESULT
from clplat.sweep.layout import Entry, Layout
from clplat.sweep.queue import QUEUE_LOCK, WORKERS
from clplat.sweep.reuse import other_run
from clplat.sweep.run import PLAN, recorded_plan
from clplat.sweep.studies import FINALS, SWEEP_ID, Studies
from clplat.tuning.journal import JOURNAL, open_journal
from clplat.tuning.spaces import contains, distribution

__all__ = ["repair"]


def repair(out: Path) -> list[str]:
    """Make a damaged journal of a sweep anew; the old one stays as ``studies.journal.damaged-<n>``.

    Trials and final runs that came to their end stand again with their numbers, values and measures; one that
    was stopped in between goes back to the queue, to go on from its checkpoint. What is lost: that trials
    without a row on disk had failed, and what pruning knew.

    Args:
        out: the folder of the sweep.

    Returns:
        What was done, in lines.

    Raises:
        UserError: there is no sweep in the folder, or somebody works on it.
    """
    if not (out / PLAN).exists() or not (out / JOURNAL).exists():
        raise UserError(f"there is no sweep with a {JOURNAL} in {out}")
    with registered_only(str(out / PLAN)):
        layout = Layout(recorded_plan(out))
    try:
        if (out / SWEEP_ID).exists():
            read_text(out / SWEEP_ID)
        open_journal(out / JOURNAL)
        return [f"{out / JOURNAL} is whole; nothing was changed"]
    except UserError as error:
        said = [str(error).partition(";")[0]]
    with locked(out / QUEUE_LOCK):
        if any(is_locked(path) for path in (out / WORKERS).glob("*")):
            raise UserError(f"workers are running the sweep in {out}; stop them first")
        kept = next(p for n in range(1, 10**6) if not (p := out / f"{JOURNAL}.damaged-{n}").exists())
        os.replace(out / JOURNAL, kept)
        (out / SWEEP_ID).unlink(missing_ok=True)
        said.append(f"a copy is kept: {kept}")
        studies = Studies(layout, out, open_journal(out / JOURNAL))
        for entry in layout.studies:
            studies.check_same(entry)  # records what is searched
            said.append(_study(studies, entry))
        said.append(_finals(studies))
    return said


def _study(studies: Studies, entry: Entry) -> str:
    """Put the trials of a study on record, each under the number of its folder."""
    root = studies.out / "trials" / entry.key
    folders = {int(path.name): path for path in root.glob("*") if path.name.isdecimal()}
    study, known = studies.study(entry.key), 0
    for number in range(max(folders, default=-1) + 1):
        trial = _trial(studies, entry, folders[number]) if number in folders else None
        known += trial is not None
        # A number that nothing is known of must not be given again: its folder may hold something.
        lost = create_trial(state=TrialState.FAIL, user_attrs={"returned": True})
        study.add_trial(lost if trial is None else trial)
    return f"the study '{entry.key}': {known} trials"


def _trial(studies: Studies, entry: Entry, folder: Path) -> FrozenTrial | None:
    """The trial that a folder is of; None if it has no row, or is of another search."""
    result = _result(folder)
    if result is None:
        return None
    held = completed(result["config"])
    params = {key: reduce(lambda tree, name: tree.get(name, {}), key.split("."), held) for key in entry.space}
    if not all(contains(space, params[key]) for key, space in entry.space.items()):
        return None
    wanted = studies.layout.trial_config(entry, params).as_dict()
    if differences(held, wanted).keys() - {"device"}:
        return None
    measures = evaluate_measures(result)
    values = [measures[name] for name in studies.layout.sweep.objectives]
    known: dict[str, Any] = {"measures": measures, "session": "repaired"}
    if result["status"] == "running":
        return create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": params})
    ends = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}
    state = ends.get(result["status"], TrialState.FAIL)
    if state == TrialState.COMPLETE and None in values:
        state, known["why"] = TrialState.FAIL, "an objective is undefined for this run"
    if result.get("failure"):  # what it measured is not on record, as in `Queue.failed`
        known = {"why": str(result["failure"]["error"]), "session": "repaired"}
    complete = state == TrialState.COMPLETE
    return create_trial(
        state=state,
        values=[float(value) for value in values if value is not None] if complete else None,
        params=params,
        distributions={key: distribution(space) for key, space in entry.space.items()},
        user_attrs=known,
        constraints=studies.layout.sweep.excess(measures) if complete else None,
    )


def _finals(studies: Studies) -> str:
    """Put the final runs that are complete on record; others are tried again."""
    known = 0
    for final in (final for finals in studies.finals() for final in finals):
        result = _result(studies.out / final.folder)
        if result is None or result["status"] != "complete" or other_run(studies.layout, final, result):
            continue
        measures = evaluate_measures(result)
        found = {"final": final.folder, "measures": measures, "session": "repaired"}
        if measures["final"] is not None:
            studies.study(FINALS).add_trial(create_trial(value=measures["final"], user_attrs=found))
            known += 1
    return f"{known} final runs"


def _result(folder: Path) -> Mapping[str, Any] | None:
    """What a run has on disk; None before its first row, and where it cannot be read."""
    try:
        result: Mapping[str, Any] = read_result(folder / RESULT)
        return result if result["metrics"] else None
    except UserError:
        return None
