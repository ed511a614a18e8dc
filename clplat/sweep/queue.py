"""Who does what next: an Optuna storage as the queue of a whole sweep, for any number of processes.

Everything that is run is an Optuna trial: those of a method's study, and the final runs, which are the
trials of one more study. There is no scheduler: a worker asks for the next piece of work, under a lock in the
folder of the sweep, and tells how it ended. A worker that is killed loses the lock that it holds on a file of
its own; the next one who asks finds that out and gives its trial back, to go on from its checkpoint.
"""

from __future__ import annotations

import fcntl
import secrets
import socket
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.errors import UserError
from clplat.files import write_text
from clplat.locks import locked
from clplat.measures import evaluate_measures, find_measure
from clplat.sweep.layout import Entry, Final, Layout
from clplat.tuning.samplers import make_sampler
from clplat.tuning.spaces import drawn, holds, plain

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

__all__ = ["FINALS", "Queue", "Work", "best_of"]

FINALS = "finals"
#: How often a piece of work may take its process with it.
DEATHS = 5


@dataclass
class Work:
    """A piece of work that one worker holds."""

    label: str
    folder: str
    config: dict[str, Any]
    trial: optuna.Trial
    entry: Entry
    final: Final | None
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``study`` for a trial, else that of the final run: ``default``, ``tuned`` or ``control``."""
        return "study" if self.final is None else self.final.kind


class Queue:
    """The work of a sweep.

    Args:
        layout: what there is to do.
        out: folder of the sweep; all workers, of all machines, see the same.
        storage: Optuna's, see `clplat.tuning.storage`.
        session: the call of the command that this worker belongs to: final runs that failed are tried once
            more in each call.
    """

    def __init__(
        self, layout: Layout, out: Path, storage: optuna.storages.BaseStorage, session: str = ""
    ) -> None:
        self.layout, self.out, self.storage = layout, out, storage
        self.session = session or secrets.token_hex(4)
        self._studies: dict[str, optuna.Study] = {}
        self._own: Any = None
        self._name = ""

    # -- what a worker calls -------------------------------------------------------------------------------

    def take(self) -> Work | None:
        """The next piece of work; None when there is none now, see `pending`.

        Raises:
            UserError: a study in the storage belongs to another sweep.
        """
        with self._locked():
            self._return_dead()
            for entry in sorted(self.layout.studies, key=lambda e: len(self._spent(e))):
                if self._may_begin(entry):
                    return self._begin_trial(entry)
            final = next(self._missing(), None)
            return None if final is None else self._begin_final(final)

    def pending(self) -> bool:
        """Whether others still work on something, after which there may be more to do."""
        with self._locked():
            self._return_dead()
            return any(_active(t) for study in self._all() for t in _trials(study))

    def complete(self, work: Work, result: Mapping[str, Any]) -> None:
        """A run came to its end."""
        values = evaluate_measures(result)
        work.trial.set_user_attr("measures", values)
        names = ("final",) if work.final is not None else self.layout.sweep.objectives
        goal = [values[name] for name in names]
        if work.final is None:
            for name, limit in self.layout.sweep.constraints.items():
                value = values[name]
                if value is not None:
                    above = value - limit
                    work.trial.set_constraint(name, above if find_measure(name).better == "lower" else -above)
        if any(value is None for value in goal):
            missing = next(name for name, value in zip(names, goal, strict=True) if value is None)
            self.failed(work, f"'{missing}' is undefined for this run, so that it cannot be an objective")
        else:
            work.trial.study.tell(work.trial, [float(value) for value in goal if value is not None])

    def pruned(self, work: Work, result: Mapping[str, Any]) -> None:
        """A trial was stopped because others are better."""
        from optuna.trial import TrialState

        work.trial.set_user_attr("measures", evaluate_measures(result))
        work.trial.study.tell(work.trial, state=TrialState.PRUNED)

    def failed(self, work: Work, why: str) -> None:
        """A run ended with an error; nothing else stops because of it."""
        from optuna.trial import TrialState

        work.trial.set_user_attr("why", why)
        work.trial.study.tell(work.trial, state=TrialState.FAIL)

    # -- what there is -------------------------------------------------------------------------------------

    def trials(self, entry: Entry) -> list[FrozenTrial]:
        """The trials of a study by number, without those that only came back to the queue."""
        study = self.study(entry.key)
        return [t for t in _trials(study) if not t.user_attrs.get("returned")]

    def final_trials(self) -> dict[str, FrozenTrial]:
        """Folder -> the newest trial of each final run."""
        found = [t for t in _trials(self.study(FINALS)) if not t.user_attrs.get("returned")]
        return {str(t.user_attrs["final"]): t for t in found if "final" in t.user_attrs}

    def study(self, key: str) -> optuna.Study:
        """The study of an entry or of the final runs; made when nobody made it before."""
        import optuna

        if key not in self._studies:
            names = self.layout.sweep.objectives if key != FINALS else ("final",)
            higher = [find_measure(name).better == "higher" for name in names]
            self._studies[key] = optuna.create_study(
                study_name=f"{self._prefix()}/{key}",
                storage=self.storage,
                directions=["maximize" if high else "minimize" for high in higher],
                load_if_exists=True,
            )
        return self._studies[key]

    def _prefix(self) -> str:
        """What tells this sweep's studies from those of another one in the same database."""
        path = self.out / ".sweep-id"
        if not path.exists():
            write_text(path, f"{self.out.resolve().name}-{secrets.token_hex(4)}")
        return path.read_text(encoding="utf-8")

    def _all(self) -> list[optuna.Study]:
        return [self.study(key) for key in (*(e.key for e in self.layout.studies), FINALS)]

    # -- tuning --------------------------------------------------------------------------------------------

    def _spent(self, entry: Entry) -> list[FrozenTrial]:
        """Trials that used up budget or are about to."""
        from optuna.trial import TrialState

        return [t for t in self.trials(entry) if t.state != TrialState.WAITING]

    def _may_begin(self, entry: Entry) -> bool:
        from optuna.trial import TrialState

        if any(t.state == TrialState.WAITING for t in self.trials(entry)):
            return True
        return not exhausted(self._spent(entry), self.layout)

    def _begin_trial(self, entry: Entry) -> Work:
        study = self.study(entry.key)
        self._same_study(study, entry)
        known = _trials(study)
        study.sampler = make_sampler(self.layout.sweep.sampler, self.layout.sweep.seeds[0], len(known))
        if not known and all(holds(space, entry.default[key]) for key, space in entry.space.items()):
            study.enqueue_trial(entry.default)
        trial = self._claim(study)
        params = drawn(trial, entry.space)
        number = trial.user_attrs.get("continues", trial.number)
        return Work(
            label=f"{entry.key} trial {number}",
            folder=f"trials/{entry.key}/{number}",
            config=self.layout.tuning(entry, params),
            trial=trial,
            entry=entry,
            final=None,
            params=params,
        )

    def _same_study(self, study: optuna.Study, entry: Entry) -> None:
        """A study is one search in one configuration: mixing two would compare what cannot be compared."""
        wanted = {
            "config": {**self.layout.tuning(entry, entry.default), "device": None},
            "space": {key: plain(space) for key, space in entry.space.items()},
            "constraints": dict(self.layout.sweep.constraints),
        }
        wanted = _json(wanted)
        held = study.user_attrs.get("search")
        if held is None:
            study.set_user_attr("search", wanted)
        elif held != wanted:
            what = {"space": "another search space", "constraints": "other constraints"}
            key = next((key for key in what if held.get(key) != wanted[key]), "config")
            has = what.get(key, "another configuration")
            raise UserError(f"the study '{entry.key}' in {self.out} has {has}; choose another --out")

    # -- final runs ----------------------------------------------------------------------------------------

    def _finals(self) -> Iterator[Final]:
        """Final runs that can be begun: default settings at once, tuned ones when their study is over."""
        for entry in self.layout.entries:
            yield from self.layout.finals(entry, "control" if entry.control else "default", {})
        for entry in self.layout.studies:
            best = self.tuned(entry)
            if best is not None:
                yield from self.layout.finals(entry, "tuned", best)

    def tuned(self, entry: Entry) -> dict[str, Any] | None:
        """The best setting of a study that is over; None before, or when nothing beats the default one."""
        spent = self._spent(entry)
        if any(_active(t) for t in self.trials(entry)) or not exhausted(spent, self.layout):
            return None
        best = best_of(self.study(entry.key), self.layout.sweep.objectives)
        return None if best is None or best.params == entry.default else dict(best.params)

    def _missing(self) -> Iterator[Final]:
        """Those of them that nobody does or did."""
        from optuna.trial import TrialState

        known: dict[str, list[FrozenTrial]] = {}
        for trial in _trials(self.study(FINALS)):
            if not trial.user_attrs.get("returned"):
                known.setdefault(str(trial.user_attrs.get("final")), []).append(trial)
        for final in self._finals():
            tries = known.get(final.folder, [])
            # Once in each session, also where two are open and the newest failure is always the other's.
            sessions = [t.user_attrs.get("session") for t in tries]
            if not tries or (tries[-1].state == TrialState.FAIL and self.session not in sessions):
                yield final

    def _begin_final(self, final: Final) -> Work:
        study = self.study(FINALS)
        dead = [t for t in _trials(study) if t.user_attrs.get("final") == final.folder]
        trial = self._claim(study)
        trial.set_user_attr("final", final.folder)
        trial.set_user_attr("deaths", sum(bool(t.user_attrs.get("returned")) for t in dead))
        return Work(
            label=final.run_label,
            folder=final.folder,
            config=self.layout.config(final),
            trial=trial,
            entry=final.entry,
            final=final,
            params=final.params,
        )

    # -- locks and the dead --------------------------------------------------------------------------------

    def _claim(self, study: optuna.Study) -> optuna.Trial:
        """A trial that says whose it is."""
        trial = study.ask()
        trial.set_user_attr("worker", self._worker())
        trial.set_user_attr("session", self.session)
        return trial

    def _worker(self) -> str:
        """The name of this worker, which lives as long as its lock."""
        if self._own is None:
            self._name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
            folder = self.out / ".workers"
            folder.mkdir(exist_ok=True)
            self._own = (folder / self._name).open("w")
            fcntl.flock(self._own, fcntl.LOCK_EX)
        return self._name

    def _alive(self, worker: str | None) -> bool:
        path = self.out / ".workers" / str(worker)
        if worker is None or not path.exists():
            return False
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
        return False

    def _return_dead(self) -> None:
        """Give trials whose worker is gone back to the queue, or up after `DEATHS` times."""
        from optuna.trial import TrialState

        for study in self._all():
            trials = _trials(study)
            followed = {t.user_attrs.get("after") for t in trials}
            for trial in trials:
                if trial.state != TrialState.RUNNING or self._alive(trial.user_attrs.get("worker")):
                    continue
                deaths = int(trial.user_attrs.get("deaths", 0)) + 1
                if deaths >= DEATHS:
                    why = f"its process was killed {deaths} times (out of memory?)"
                    self.storage.set_trial_user_attr(trial._trial_id, "why", why)
                else:
                    # A final run is missing again as soon as this is told; a setting must be kept.
                    if study is not self.study(FINALS) and trial.number not in followed:
                        self._follow(study, trial, deaths)
                    self.storage.set_trial_user_attr(trial._trial_id, "returned", True)
                study.tell(trial.number, state=TrialState.FAIL)

    def _follow(self, study: optuna.Study, dead: FrozenTrial, deaths: int) -> None:
        """A trial after a dead one: with its values, and the number whose folder holds the checkpoint."""
        first = dead.user_attrs.get("continues", dead.number)
        attributes = {"after": dead.number, "continues": first, "deaths": deaths}
        # Values that were to be tried and not yet drawn stand where `enqueue_trial` put them.
        study.enqueue_trial({**dead.system_attrs.get("fixed_params", {}), **dead.params}, attributes)

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self.out / ".queue.lock")


def exhausted(spent: list[FrozenTrial], layout: Layout) -> bool:
    """Whether trials that ended or run use up the budget of their study."""
    budget = layout.sweep.budget
    known = [t.user_attrs.get("measures", {}) for t in spent]
    used = {
        "trials": float(len(spent)),
        "seconds": sum(m.get("seconds") or 0.0 for m in known),
        "tflops": sum(m.get("training_flops") or 0.0 for m in known) / 1e12,
    }
    limits = {"trials": budget.trials, "seconds": budget.seconds, "tflops": budget.tflops}
    if any(limit is not None and used[name] >= limit for name, limit in limits.items()):
        return True
    # What never succeeds must not be tried for ever when only time or work is limited.
    from optuna.trial import TrialState

    return len(spent) >= 10 and all(t.state == TrialState.FAIL for t in spent)


def best_of(study: optuna.Study, objectives: Any) -> FrozenTrial | None:
    """The best complete trial that meets the constraints; of a front, the member with the best ``final``."""
    from optuna.trial import TrialState

    complete = [t for t in _trials(study) if t.state == TrialState.COMPLETE]
    feasible = [t for t in complete if all(v <= 0 for v in t.constraints.values())]
    if not feasible:
        return None
    if len(objectives) > 1:
        front = {t.number for t in study.best_trials}
        feasible = [t for t in feasible if t.number in front]
        return max(feasible, key=lambda t: t.user_attrs["measures"]["final"] or 0.0, default=None)
    sign = 1 if find_measure(objectives[0]).better == "higher" else -1
    # Of equals the earlier one: the default stands where nothing is better.
    return max(feasible, key=lambda t: (sign * t.values[0], -t.number))


def _trials(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False)


def _active(trial: FrozenTrial) -> bool:
    from optuna.trial import TrialState

    return trial.state in (TrialState.RUNNING, TrialState.WAITING)


def _json(value: Any) -> Any:
    import json

    return json.loads(json.dumps(value, sort_keys=True))
