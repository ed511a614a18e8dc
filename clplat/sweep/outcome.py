"""What a sweep came to, as plain data: rows with intervals, tests between methods, studies, failures.

Read from the storage and from the folders of the runs, at any time; nothing is remembered in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.files import read_json
from clplat.provenance import library_versions
from clplat.runs.run_folder import RESULT
from clplat.sweep.comparisons import comparisons, sentence
from clplat.sweep.layout import Entry, FinalRun, option
from clplat.sweep.rows import rounded, row_of
from clplat.sweep.studies import Studies, number_of, state_of
from clplat.tuning.spaces import write_space

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

__all__ = ["OUTCOME", "SCHEMA", "collect"]

OUTCOME = "sweep.json"
SCHEMA = 1


@dataclass
class _Replicates:
    """The final runs of an entry with one setting, as they are on disk.

    Args:
        done: folder -> result of those that are complete.
        failures: of those that count as finished all the same.
        missing: how many are still to come.
    """

    finals: Sequence[FinalRun]
    done: dict[str, dict[str, Any]]
    failures: list[dict[str, Any]]
    missing: int


def collect(studies: Studies, command: str) -> dict[str, Any]:
    """The outcome of a sweep as it stands, schema 1 (``docs/sweeps.md``)."""
    layout, sweep = studies.layout, studies.layout.sweep
    tries = studies.final_tries()
    replicates = [_read_replicates(studies.out, finals, tries) for finals in _finals(studies)]
    rows = [row_of(layout, studies.out, r.finals, r.done) for r in replicates if r.done]
    rows.sort(key=lambda row: (list(sweep.groups).index(row.plain["group"]), -row.plain["score"]["mean"]))
    plain_rows, found = [row.plain for row in rows], comparisons(rows)
    tuned = [_study(studies, entry) for entry in layout.studies]
    first = read_json(studies.out / rows[0].plain["folders"][0] / RESULT) if rows else None
    return {
        "schema": SCHEMA,
        "status": "running" if sum(r.missing for r in replicates) > 0 else "complete",
        "name": sweep.name,
        "question": sweep.question,
        "command": command,
        "versions": library_versions(),
        "code": sorted({result["fingerprints"]["code"] for r in replicates for result in r.done.values()}),
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
        "sentence": sentence(plain_rows, found),
        "studies": tuned,
        "failures": [failure for r in replicates for failure in r.failures] + _failed(tuned),
        "figure": None if sweep.figure is None else dict(sweep.figure),
    }


def _finals(studies: Studies) -> Iterator[list[FinalRun]]:
    """The final runs of each entry, with its default and then its tuned setting."""
    for entry in studies.layout.entries:
        yield list(studies.layout.finals(entry, "control" if entry.control else "default", {}))
        if entry.space and (best := studies.tuned_params(entry)) is not None:
            yield list(studies.layout.finals(entry, "tuned", best))


def _read_replicates(
    out: Path, finals: Sequence[FinalRun], tries: Mapping[str, Sequence[FrozenTrial]]
) -> _Replicates:
    on_disk = {final.folder: result for final in finals if (result := _complete(out / final.folder))}
    # A larger budget may have found a better setting than the one that was measured.
    stale = [final for final in finals if _differs(on_disk.get(final.folder), final.params)]
    for final in stale:
        del on_disk[final.folder]
    why = "was measured with another setting than the best one now, {}; choose another --out"
    failures = [_failure(final.run_label, final.folder, why.format(final.params)) for final in stale]
    for final in finals:
        failed = final.folder in tries and tries[final.folder][-1].user_attrs.get("why")
        if failed:
            failures.append(_failure(final.run_label, final.folder, failed))
    return _Replicates(finals, on_disk, failures, len(finals) - len(on_disk) - len(failures))


def _complete(folder: Path) -> dict[str, Any] | None:
    path = folder / RESULT
    result = read_json(path) if path.exists() else None
    return result if result is not None and result["status"] == "complete" else None


def _differs(result: Mapping[str, Any] | None, params: Mapping[str, Any]) -> bool:
    return result is not None and any(option(result["config"], key) != params[key] for key in params)


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
    trials = [_trial(entry, trial) for trial in studies.trials(entry.key)]
    known = [trial["measures"] for trial in trials]
    best = studies.best(entry.key)
    return {
        "group": entry.group,
        "method": entry.method,
        "objectives": list(studies.layout.sweep.objectives),
        "space": {key: write_space(space) for key, space in entry.space.items()},
        "spent": {
            "trials": sum(trial["state"] not in ("waiting", "running") for trial in trials),
            "seconds": rounded(sum(m.get("seconds") or 0.0 for m in known)),
            "tflops": rounded(sum(m.get("training_flops") or 0.0 for m in known) / 1e12),
        },
        "importances": _importances(studies, entry),
        "best": None if best is None else number_of(best),
        "trials": trials,
    }


def _trial(entry: Entry, trial: FrozenTrial) -> dict[str, Any]:
    state, number = state_of(trial), number_of(trial)
    return {
        "number": number,
        "state": state,
        "values": list(trial.values) if state == "complete" else None,
        "params": dict(trial.params),
        "measures": trial.user_attrs.get("measures", {}),
        "constraints": dict(trial.constraints),
        "why": trial.user_attrs.get("why"),
        "folder": f"trials/{entry.key}/{number}",
    }


def _importances(studies: Studies, entry: Entry) -> dict[str, float]:
    """Share of each option in the variance of the first objective; empty with too few complete trials."""
    from optuna.importance import get_param_importances

    complete = [trial for trial in studies.records(entry.key) if state_of(trial) == "complete"]
    if len(complete) < 4 or len({t.values[0] for t in complete if t.values}) < 2 or len(entry.space) < 2:
        return {}
    target = None if len(studies.layout.sweep.objectives) == 1 else (lambda t: t.values[0])
    found = get_param_importances(studies.study(entry.key), target=target)
    return {key: round(float(value), 4) for key, value in found.items()}
