"""An Optuna study over the annotated search space of chosen parts; resumable, beside its runs on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.config import merge, resolve, spaces
from clplat.errors import UserError
from clplat.experiment import run
from clplat.files import write_json
from clplat.raw import nested
from clplat.space import Choice, Int, Space
from clplat.sweep import tracked
from clplat.terminal import Terminal
from clplat.tracking import Tracker

if TYPE_CHECKING:
    import optuna

__all__ = ["Tuned", "suggest", "tune"]


@dataclass(frozen=True)
class Tuned:
    """The outcome of a study."""

    best: dict[str, Any]
    value: float
    result: dict[str, Any]
    trials: int


def suggest(trial: optuna.Trial, key: str, space: Space) -> Any:
    """Draw one value of an annotated argument."""
    if isinstance(space, Choice):
        return trial.suggest_categorical(key, list(space.values))
    if isinstance(space, Int):
        return trial.suggest_int(key, space.low, space.high, log=space.log)
    return trial.suggest_float(key, space.low, space.high, log=space.log)


def tune(
    base: Mapping[str, Any],
    slots: Sequence[str],
    trials: int,
    out: Path,
    *,
    track: bool = True,
    objective: Callable[[Mapping[str, Any]], float] | None = None,
) -> Tuned:
    """Search the annotated arguments of some slots; then measure the best once on the test split.

    Trials see the validation split only. Running the same command again goes on where it stopped: finished
    trials stand, the trial of a killed process is queued again with the same values and goes on from its
    own checkpoint.

    Args:
        base: raw configuration; what it sets stands unless it is searched.
        slots: e.g. ``["strategy", "adapter", "train.lr"]``: whole slots or single arguments.
        trials: complete trials wanted in all, those of earlier calls included.
        out: folder of the study: ``study.journal``, ``trial-<n>/``, ``best/``, ``study.json``.
        objective: value to maximise from a result; by default the mean of the primary metric after the
            last experience.

    Raises:
        UserError: a slot without annotated arguments.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    score = objective or final_mean
    base = nested(base)
    tuning = merge(base, {"evaluation": {**base.get("evaluation", {}), "split": "val"}})
    resolved = resolve(tuning)
    space = _chosen(resolved, slots)
    out.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(out / "study.journal")))
    scenario, strategy = resolved["scenario"]["name"], resolved["strategy"]["name"]
    study = optuna.create_study(
        study_name=f"{scenario}/{strategy}",
        storage=storage,
        direction="maximize",
        load_if_exists=True,
    )
    # Seeded by what is known already: a resumed study must not draw its first suggestions again.
    study.sampler = optuna.samplers.TPESampler(seed=resolved["seed"] + len(study.trials))
    _requeue_dead(study)
    tracker = Tracker(out, level="sweep") if track else None
    title = f"tune {strategy}"
    note = f"{trials} trials over {', '.join(space)}; validation split only"
    sweep = (
        tracker.start_parent(
            scenario, title, "sweep", params={"strategy": strategy}, note=note, key=str(out.resolve())
        )
        if tracker is not None
        else None
    )
    with Terminal(trials + 1) as terminal:

        def one(trial: optuna.Trial) -> float:
            trial.set_user_attr("pid", os.getpid())
            chosen = {key: suggest(trial, key, kind) for key, kind in space.items()}
            # A trial queued again carries the number whose folder holds its checkpoint.
            folder = out / f"trial-{trial.user_attrs.get('continues', trial.number)}"
            shown = ", ".join(f"{key.split('.')[-1]} {_short(value)}" for key, value in chosen.items())
            # Trials see the validation split: as "trial" they stay out of tables of test results.
            seed_tracker = (
                Tracker(out, level="trial", parent_run_id=sweep, warn=terminal.say) if track else None
            )
            listener = tracked(terminal.listener(f"trial {trial.number} ({shown})"), seed_tracker, folder)
            result = run(_with(tuning, chosen), folder, listener=listener)
            for key in ("forgetting_max", "plasticity", "zs_retention"):
                trial.set_user_attr(key, result["scores"][-1].get(key))
            return score(result)

        while (missing := trials - len(_complete(study))) > 0:
            before = len(study.get_trials(deepcopy=False))
            study.optimize(one, n_trials=1, catch=(UserError,))
            latest = study.get_trials(deepcopy=False)[before if before < len(study.trials) else -1]
            if latest.state == optuna.trial.TrialState.FAIL and missing == trials and before > 3 * trials:
                raise UserError(f"no trial of the study in {out} succeeds; the last one failed")
        best = dict(study.best_trial.params)
        listener = tracked(
            terminal.listener("best, on test"),
            Tracker(out, parent_run_id=sweep) if track else None,
            out / "best",
        )
        result = run(_with(base, best), out / "best", listener=listener)
    if tracker is not None:
        tracker.finish_parent(
            sweep, results=[result], metrics={"tune/best": study.best_value, "tune/trials": len(study.trials)}
        )
    table = [{"number": t.number, "state": t.state.name, "value": t.value, **t.params} for t in study.trials]
    write_json(out / "study.json", {"best": best, "value": study.best_value, "trials": table})
    return Tuned(best, study.best_value, result, len(study.trials))


def final_mean(result: Mapping[str, Any]) -> float:
    """Mean over domains of the primary metric after the last experience, in percent."""
    last = result["metrics"][result["protocol"]["primary"]][-1]
    return float(sum(last) / len(last))


def _chosen(resolved: Mapping[str, Any], slots: Sequence[str]) -> dict[str, Space]:
    available = spaces(resolved)
    found: dict[str, Space] = {}
    for slot in slots:
        mine = {key: space for key, space in available.items() if key == slot or key.startswith(slot + ".")}
        if not mine:
            options = ", ".join(sorted(available)) or "none"
            raise UserError(f"'{slot}' has no annotated search space here (searchable: {options})")
        found.update(mine)
    return found


def _with(base: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    raw: dict[str, Any] = dict(base)
    for key, value in chosen.items():
        slot, _, name = key.partition(".")
        raw = merge(raw, {slot: {**raw.get(slot, {}), name: value}})
    return raw


def _complete(study: optuna.Study) -> list[Any]:
    import optuna

    return study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))


def _requeue_dead(study: optuna.Study) -> None:
    """The journal has no heartbeat: a killed process leaves its trial running for ever unless we close it."""
    import optuna

    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        if not _alive(int(trial.user_attrs.get("pid", 0))):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            first = trial.user_attrs.get("continues", trial.number)
            study.enqueue_trial(trial.params, user_attrs={"continues": first})


def _alive(pid: int) -> bool:
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid != os.getpid()


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
