"""What a sweep came to, as plain data: rows with intervals, tests between methods, studies, failures.

Read from the storage and from the folders of the runs, at any time; nothing is remembered in between.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from clplat.config.differences import in_words
from clplat.documents.outcome import SCHEMA
from clplat.documents.result import read_result
from clplat.measures import find_measure
from clplat.provenance import library_versions
from clplat.runs.run_folder import RESULT
from clplat.sweep.allocation import spent
from clplat.sweep.comparisons import comparisons, sentence
from clplat.sweep.layout import Entry, FinalRun, Layout
from clplat.sweep.reuse import named_by, other_run
from clplat.sweep.rows import row_of
from clplat.sweep.studies import WAYS_OUT, Studies, number_of, state_of, summary
from clplat.tuning.spaces import write_space

__all__ = ["OUTCOME", "SCHEMA", "collect"]

OUTCOME = "sweep.json"


def collect(studies: Studies, command: str) -> dict[str, Any]:
    """The outcome of a sweep as it stands, schema 1 (``docs/sweeps.md``)."""
    layout, sweep = studies.layout, studies.layout.sweep
    tries = studies.final_tries()
    rows, failures, missing = [], [], 0
    code: set[str] = set()
    for finals in studies.finals():
        done, failed = _read_replicates(layout, studies.out, finals, tries)
        failures += failed
        missing += len(finals) - len(done) - len(failed)
        code.update(result["fingerprints"]["code"] for result in done.values())
        if done:
            rows.append(row_of(layout, studies.out, finals, done))
    rows.sort(key=lambda row: (list(sweep.groups).index(row.plain["group"]), -row.plain["score"]["mean"]))
    plain_rows, found = [row.plain for row in rows], comparisons(rows)
    tuned = [_study(studies, entry) for entry in layout.studies]
    first = read_result(studies.out / rows[0].plain["folders"][0] / RESULT) if rows else None
    return {
        "schema": SCHEMA,
        "status": "running" if missing > 0 else "complete",
        "name": sweep.name,
        "question": sweep.question,
        "command": command,
        "versions": library_versions(),
        "code": sorted(code),
        "scenario": layout.entries[0].config.name("scenario"),
        "domains": first["domains"] if first else [],
        "primary": first["protocol"]["primary"] if first else "",
        "objectives": list(sweep.objectives),
        "constraints": dict(sweep.constraints),
        "budget": sweep.as_dict()["budget"],
        "seeds": list(sweep.seeds),
        "orders": [order or "own" for order in layout.orders[layout.entries[0].group]],
        "rows": plain_rows,
        "comparisons": found,
        "sentence": " ".join([sentence(plain_rows, found), *_chosen_on_reported(layout)]),
        "studies": tuned,
        "failures": failures + _failed(tuned),
        "figure": None if sweep.figure is None else dict(sweep.figure),
    }


def _chosen_on_reported(layout: Layout) -> list[str]:
    """A sentence where settings are chosen on the very queries that are reported, for want of a test set."""
    same = [entry for entry in layout.studies if entry.config.option("evaluation.split") == "val"]
    return [
        "Tuned settings were chosen on the split that is reported (val): their scores are too high."
    ] * bool(same)


def _read_replicates(
    layout: Layout, out: Path, finals: Sequence[FinalRun], tries: Mapping[str, Sequence[FrozenTrial]]
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Folder -> result of the replicates that are complete, and those that failed for good."""
    done, failures, younger = {}, [], dict[tuple[str, str], set[str]]()
    for final in finals:
        path, whys = out / final.folder / RESULT, []
        result = read_result(path) if path.exists() else {"status": "not begun"}
        if result["status"] == "complete":
            other = other_run(layout, final, result)
            agreed = younger.setdefault((final.entry.key, final.kind), set(other))
            if named_by(layout, final, other) or set(other) != agreed:
                # A larger budget may have found a better setting than the one that was measured.
                whys.append(f"was measured in another configuration ({in_words(other)}); {WAYS_OUT}")
            else:
                done[final.folder] = result
        if final.folder in tries and (why := tries[final.folder][-1].user_attrs.get("why")):
            whys.append(why)
        failures += [_failure(final.run_label, final.folder, why) for why in whys]
    return done, failures


def _failure(label: str, folder: str, why: str) -> dict[str, Any]:
    return {"label": label, "folder": folder, "why": why}


def _failed(tuned: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        _failure(f"{study['method']} trial {trial['number']}", trial["folder"], trial["why"])
        for study in tuned
        for trial in study["trials"]
        if trial["state"] == "failed"
    ]


def _study(studies: Studies, entry: Entry) -> dict[str, Any]:
    trials, best = studies.trials(entry.key), studies.best(entry.key)
    used = spent([summary(trial) for trial in trials if trial.state.is_finished()])
    return {
        "group": entry.group,
        "method": entry.method,
        "objectives": list(studies.layout.sweep.objectives),
        "space": {key: write_space(space) for key, space in entry.space.items()},
        "spent": {name: round(value, 6) for name, value in used.items()},
        "importances": _importances(studies, entry),
        "best": None if best is None else number_of(best),
        "trials": [
            {
                "number": number_of(trial),
                "state": state_of(trial),
                "values": list(trial.values) if state_of(trial) == "complete" else None,
                "params": dict(trial.params),
                "measures": trial.user_attrs.get("measures", {}),
                "constraints": _excess(studies, trial) if state_of(trial) == "complete" else {},
                "why": trial.user_attrs.get("why"),
                "folder": f"trials/{entry.key}/{number_of(trial)}",
            }
            for trial in trials
        ],
    }


def _excess(studies: Studies, trial: FrozenTrial) -> dict[str, float | None]:
    """Constraint -> how far a complete trial is beyond the limit; None where its measure is undefined."""
    known = trial.user_attrs.get("measures", {})
    excess = studies.layout.sweep.excess(known)
    return {name: None if known.get(name) is None else value for name, value in excess.items()}


def _importances(studies: Studies, entry: Entry) -> dict[str, float]:
    """Share of each option in what makes the first objective good (PED-ANOVA); empty with too few trials."""
    from optuna.importance import get_param_importances

    complete = [trial for trial in studies.records(entry.key) if state_of(trial) == "complete"]
    if len(complete) < 4 or len({trial.values[0] for trial in complete}) < 2 or len(entry.space) < 2:
        return {}
    sign = -1 if find_measure(studies.layout.sweep.objectives[0]).better == "higher" else 1
    with warnings.catch_warnings():  # that a low target is taken for a good one, as it is here
        warnings.simplefilter("ignore")
        found = get_param_importances(studies.study(entry.key), target=lambda trial: sign * trial.values[0])
    return {key: round(float(value), 4) for key, value in found.items()}
