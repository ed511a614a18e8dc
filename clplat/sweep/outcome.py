"""What a sweep came to, as plain data: rows with intervals, tests between methods, studies, failures.

Read from the storage and from the folders of the runs, at any time; nothing is remembered in between.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.evaluation.significance import Replicate, interval
from clplat.files import read_json
from clplat.measures import MEASURES, evaluate_measures
from clplat.naming import flat
from clplat.provenance import library_versions
from clplat.roles import role_of
from clplat.runs.run_folder import RESULT
from clplat.sweep.layout import Entry, Final, Layout, option
from clplat.sweep.queue import Queue, best_of
from clplat.sweep.verdict import comparisons, sentence
from clplat.trees import load_tree
from clplat.tuning.spaces import plain

__all__ = ["OUTCOME", "SCHEMA", "Row", "collect", "row_of"]

OUTCOME = "sweep.json"
SCHEMA = 1


class Row:
    """One line of the table, with what the tests need: replicate -> its queries' values."""

    def __init__(self, plain: dict[str, Any], replicates: dict[tuple[int, int], Replicate]) -> None:
        self.plain, self.replicates = plain, replicates


def collect(queue: Queue, command: str) -> dict[str, Any]:
    """The outcome of a sweep as it stands, schema 1 (``docs/sweeps.md``)."""
    layout, sweep = queue.layout, queue.layout.sweep
    rows: list[Row] = []
    failures: list[dict[str, Any]] = []
    missing, code = 0, set[str]()
    differing = _differing(layout)
    trials = queue.final_trials()
    for entry in layout.entries:
        kinds: dict[str, dict[str, Any]] = {"control" if entry.control else "default": {}}
        if entry.space and (best := queue.tuned(entry)) is not None:
            kinds["tuned"] = best
        for kind, params in kinds.items():
            finals = list(layout.finals(entry, kind, params))
            done = {(f.seed, f.order): held for f in finals if (held := _complete(queue.out / f.folder))}
            # A larger budget may have found a better setting than the one that was measured.
            stale = [
                f
                for f in finals
                if any(_differs(done.get((f.seed, f.order)), k, v) for k, v in params.items())
            ]
            for final in stale:
                del done[final.seed, final.order]
                why = (
                    f"was measured with another setting than the best one now, {params}; choose another --out"
                )
                failures.append({"label": final.run_label, "folder": final.folder, "why": why})
            missing += len(finals) - len(done) - len(stale)
            for final in finals:
                trial = trials.get(final.folder)
                if trial is not None and (told := trial.user_attrs.get("why")):
                    missing -= 1  # it is told and done with
                    failures.append({"label": final.run_label, "folder": final.folder, "why": told})
            code |= {held["fingerprints"]["code"] for held in done.values()}
            if done:
                options = flat(entry.config) | params
                settings = {name: options.get(name) for name in differing}
                rows.append(row_of(queue.out, finals, done, params, settings, dict(sweep.constraints)))
    rows.sort(key=lambda row: (list(sweep.groups).index(row.plain["group"]), -row.plain["score"]["mean"]))
    found = comparisons(rows)
    studies = [_study(queue, entry) for entry in layout.studies]
    for study in studies:
        failures += [
            {"label": f"{study['method']} trial {t['number']}", "folder": t["folder"], "why": t["why"]}
            for t in study["trials"]
            if t["state"] == "failed"
        ]
    first = read_json(queue.out / rows[0].plain["folders"][0] / RESULT) if rows else None
    return {
        "schema": SCHEMA,
        "status": "running" if missing > 0 else "complete",
        "name": sweep.name,
        "question": sweep.question,
        "command": command,
        "versions": library_versions(),
        "code": sorted(code),
        "scenario": layout.entries[0].config["scenario"]["name"],
        "domains": first["domains"] if first else [],
        "primary": first["protocol"]["primary"] if first else "",
        "objectives": list(sweep.objectives),
        "constraints": dict(sweep.constraints),
        "budget": sweep.as_dict()["budget"],
        "seeds": list(sweep.seeds),
        "orders": [order or "own" for order in layout.orders[layout.entries[0].group]],
        "rows": [row.plain for row in rows],
        "comparisons": found,
        "sentence": sentence([row.plain for row in rows], found),
        "studies": studies,
        "failures": failures,
        "figure": None if sweep.figure is None else dict(sweep.figure),
    }


def row_of(
    out: Path,
    finals: Sequence[Final],
    done: Mapping[tuple[int, int], Mapping[str, Any]],
    params: Mapping[str, Any],
    settings: Mapping[str, Any],
    constraints: Mapping[str, float],
) -> Row:
    """One line of the table from the complete replicates of an entry."""
    first = finals[0]
    folders = {(f.seed, f.order): f.folder for f in finals if (f.seed, f.order) in done}
    replicates = {key: _replicate(out / folder, done[key]) for key, folder in folders.items()}
    score = interval(list(replicates.values()))
    measures = _measures(list(done.values()))
    strategy = first.entry.config["strategy"]["name"]
    return Row(
        {
            "group": first.entry.group,
            "method": first.entry.method,
            "label": first.label,
            "strategy": strategy,
            "kind": first.kind,
            "bound": first.entry.control and role_of({"strategy": strategy}) == "upper bound",
            "params": dict(params),
            "settings": dict(settings),
            "n": len(done),
            "score": {
                "mean": _round(score.mean),
                "sd": _round(score.sd),
                "low": _round(score.low),
                "high": _round(score.high),
            },
            "measures": measures,
            "feasible": _feasible(measures, constraints),
            "folders": list(folders.values()),
        },
        replicates,
    )


def _complete(folder: Path) -> dict[str, Any] | None:
    path = folder / RESULT
    result = read_json(path) if path.exists() else None
    return result if result is not None and result["status"] == "complete" else None


def _differs(result: Mapping[str, Any] | None, key: str, value: Any) -> bool:
    return result is not None and option(result["config"], key) != value


def _replicate(folder: Path, result: Mapping[str, Any]) -> Replicate:
    last = len(result["scores"]) - 1
    values = load_tree(folder / "values" / f"{last}.safetensors")
    percent = {name: 100.0 * tensor.double().numpy() for name, tensor in values.items()}
    return Replicate(percent, result["fingerprints"]["queries"])


def _measures(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and deviation over replicates of every measure and of every retrieval metric's final mean."""
    columns: dict[str, list[float | None]] = {name: [] for name in MEASURES if name != "final"}
    for result in results:
        for name, value in evaluate_measures(result).items():
            if name != "final":
                columns[name].append(value)
        for metric, matrix in result["metrics"].items():
            columns.setdefault(metric, []).append(statistics.fmean(matrix[-1]))
    found: dict[str, Any] = {}
    for name, values in columns.items():
        known = [value for value in values if value is not None]
        spread = statistics.stdev(known) if len(known) > 1 else None
        found[name] = {"mean": _round(statistics.fmean(known)), "sd": _round(spread)} if known else None
    return found


def _feasible(measures: Mapping[str, Any], constraints: Mapping[str, float]) -> bool | None:
    if not constraints:
        return None
    met = []
    for name, limit in constraints.items():
        entry = measures.get(name)
        if entry is not None:
            lower = MEASURES[name].better == "lower"
            met.append(entry["mean"] <= limit if lower else entry["mean"] >= limit)
    return all(met)


def _differing(layout: Layout) -> list[str]:
    """The options in which the methods of a sweep differ, beside what tuning chose."""
    options = [flat(entry.config) for entry in layout.entries if not entry.control]
    keys = dict.fromkeys(key for entry in options for key in entry)
    return [key for key in keys if len({str(entry.get(key)) for entry in options}) > 1]


# -- studies ------------------------------------------------------------------------------------------------


def _study(queue: Queue, entry: Entry) -> dict[str, Any]:
    trials = [_trial(entry, trial) for trial in queue.trials(entry)]
    known = [t["measures"] for t in trials]
    best = best_of(queue.study(entry.key), queue.layout.sweep.objectives)
    return {
        "group": entry.group,
        "method": entry.method,
        "objectives": list(queue.layout.sweep.objectives),
        "space": {key: plain(space) for key, space in entry.space.items()},
        "spent": {
            "trials": sum(t["state"] not in ("waiting", "running") for t in trials),
            "seconds": _round(sum(m.get("seconds") or 0.0 for m in known)),
            "tflops": _round(sum(m.get("training_flops") or 0.0 for m in known) / 1e12),
        },
        "importances": _importances(queue, entry),
        "best": None if best is None else best.user_attrs.get("continues", best.number),
        "trials": trials,
    }


def _trial(entry: Entry, trial: Any) -> dict[str, Any]:
    words = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running"}
    number = trial.user_attrs.get("continues", trial.number)
    return {
        "number": number,
        "state": words.get(trial.state.name, "waiting"),
        "values": list(trial.values) if trial.state.name == "COMPLETE" else None,
        "params": dict(trial.params),
        "measures": trial.user_attrs.get("measures", {}),
        "constraints": dict(trial.constraints),
        "why": trial.user_attrs.get("why"),
        "folder": f"trials/{entry.key}/{number}",
    }


def _importances(queue: Queue, entry: Entry) -> dict[str, float]:
    """Share of each option in the variance of the first objective; none where too few trials tell."""
    from optuna.importance import get_param_importances
    from optuna.trial import TrialState

    study = queue.study(entry.key)
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < 4 or len({t.values[0] for t in complete if t.values}) < 2 or len(entry.space) < 2:
        return {}
    target = None if len(queue.layout.sweep.objectives) == 1 else (lambda t: t.values[0])
    found = get_param_importances(study, target=target)
    return {key: round(float(value), 4) for key, value in found.items()}


def _round(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
