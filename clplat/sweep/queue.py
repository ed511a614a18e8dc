"""The queue of a sweep: any number of processes claim jobs from it and report how they ended.

Everything that is run is an Optuna trial. There is no scheduler: a worker claims its next job under a lock in
the folder of the sweep; `clplat.sweep.allocation` says which. The trial of a worker that was killed goes back
to the queue at the next claim of another one, to continue from its checkpoint.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from clplat.config.resolved import Config
from clplat.config.space import Space
from clplat.locks import is_locked, locked
from clplat.measures import evaluate_measures, find_measure
from clplat.sweep.allocation import next_final, next_study
from clplat.sweep.layout import Entry, FinalRun, Layout
from clplat.sweep.studies import FINALS, Studies, number_of, state_of, summary
from clplat.tuning.samplers import make_pruner, make_sampler
from clplat.tuning.spaces import contains, distribution

__all__ = ["DEATHS", "QUEUE_LOCK", "WORKERS", "Job", "Queue"]

#: How often the process of a job may be killed before the job is given up.
DEATHS = 5
#: In the folder of a sweep: the locks of living workers, and that of whoever claims.
WORKERS, QUEUE_LOCK = ".workers", ".queue.lock"


@dataclass(frozen=True)
class Job:
    """One run that a worker has claimed: plain data, which crosses processes.

    Args:
        label: what it is called on screen.
        folder: of the run, in that of the sweep.
        entry: key of the `Entry` that it belongs to.
        kind: ``study`` for a trial, else that of the final run: ``default``, ``tuned`` or ``control``.
        config: the resolved configuration.
        params: what tuning chose of it.
    """

    label: str
    folder: str
    entry: str
    kind: str
    config: Config
    params: dict[str, Any]


class Queue:
    """The jobs of a sweep, as one worker sees them.

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
        self.layout, self.out = layout, out
        self.studies = Studies(layout, out, storage)
        self.session = session or secrets.token_hex(4)
        self._workers, self._held = out / WORKERS, ExitStack()
        self._lock = out / QUEUE_LOCK
        self._claimed: dict[str, optuna.Trial] = {}  # folder of a job -> its trial

    def claim(self) -> Job | None:
        """The next job, which is this worker's from now on; None when there is none now, see `has_pending`.

        Raises:
            UserError: a study in the storage belongs to another sweep.
        """
        with locked(self._lock):
            self._return_dead()
            trials = {e.key: list(map(summary, self.studies.trials(e.key))) for e in self.layout.studies}
            key = next_study(self.layout.sweep.budget, trials)
            if key is not None:
                return self._begin_trial(next(e for e in self.layout.studies if e.key == key))
            finals = {final.folder: final for each in self.studies.finals() for final in each}
            tries = {folder: list(map(summary, t)) for folder, t in self.studies.final_tries().items()}
            folder = next_final(finals, tries, self.session)
            return None if folder is None else self._begin_final(finals[folder])

    def has_pending(self) -> bool:
        """Whether other workers have jobs, after which there may be more to do."""
        with locked(self._lock):
            self._return_dead()
            states = {state_of(trial) for key in self.studies.keys for trial in self.studies.records(key)}
            return not states.isdisjoint(("running", "waiting"))

    def leave(self) -> None:
        """Give back what this worker holds, so that it counts as gone before its process ends."""
        self._held.close()
        self.__dict__.pop("_worker", None)

    def complete(self, job: Job, result: Mapping[str, Any]) -> None:
        """Report that a run came to its end."""
        sweep, values, tuning = self.layout.sweep, evaluate_measures(result), job.kind == "study"
        names = sweep.objectives if tuning else ("final",)
        known = {name: float(value) for name in names if (value := values[name]) is not None}
        for name, excess in sweep.excess(values).items() if tuning else ():
            self._claimed[job.folder].set_constraint(name, excess)
        undefined = next((name for name in names if name not in known), None)
        if undefined is None:
            self._end(job, None, {"measures": values}, list(known.values()))
        else:
            why = f"'{undefined}' is undefined for this run, so that it cannot be an objective"
            self._end(job, TrialState.FAIL, {"measures": values, "why": why})

    def should_prune(self, job: Job, result: Mapping[str, Any]) -> bool:
        """Report the newest row of a running trial to its study; whether it is pruned for that."""
        sweep, step, domains = self.layout.sweep, len(result["scores"]) - 1, len(result["domains"])
        value = find_measure(sweep.objectives[0]).value(result)
        # Several objectives have no order in which there is a worse half.
        prunes = job.kind == "study" and sweep.pruner != "none" and len(sweep.objectives) == 1
        if not prunes or not 1 <= step < domains or value is None:
            return False
        trial = self._claimed[job.folder]
        trial.study.pruner = make_pruner(sweep.pruner, domains)
        trial.report(value, step)
        return trial.should_prune()

    def pruned(self, job: Job, result: Mapping[str, Any]) -> None:
        """Report that a trial was stopped because others are better."""
        self._end(job, TrialState.PRUNED, {"measures": evaluate_measures(result)})

    def failed(self, job: Job, why: str) -> None:
        """Report that a run ended with an error; nothing else stops because of it."""
        self._end(job, TrialState.FAIL, {"why": why})

    def _end(
        self,
        job: Job,
        state: TrialState | None,
        known: Mapping[str, Any],
        values: Sequence[float] | None = None,
    ) -> None:
        trial = self._claimed[job.folder]
        for key, value in known.items():
            trial.set_user_attr(key, value)
        trial.study.tell(trial, values, state)

    def _begin_trial(self, entry: Entry) -> Job:
        self.studies.check_same(entry)
        study, known = self.studies.study(entry.key), self.studies.records(entry.key)
        study.sampler = make_sampler(self.layout.sweep.sampler, self.layout.sweep.seeds[0], len(known))
        if not known and all(contains(space, entry.default[key]) for key, space in entry.space.items()):
            study.enqueue_trial(entry.default)
        trial = self._ask(study, entry.space)
        number, params = number_of(trial), trial.params
        folder = f"trials/{entry.key}/{number}"
        config = self.layout.trial_config(entry, params)
        self._claimed[folder] = trial
        return Job(f"{entry.key} trial {number}", folder, entry.key, "study", config, params)

    def _begin_final(self, final: FinalRun) -> Job:
        tries = [t for t in self.studies.records(FINALS) if t.user_attrs.get("final") == final.folder]
        trial = self._ask(self.studies.study(FINALS), {})
        trial.set_user_attr("final", final.folder)
        trial.set_user_attr("deaths", sum(bool(t.user_attrs.get("returned")) for t in tries))
        self._claimed[final.folder] = trial
        config = self.layout.final_config(final)
        return Job(final.run_label, final.folder, final.entry.key, final.kind, config, final.params)

    def _ask(self, study: optuna.Study, spaces: Mapping[str, Space]) -> optuna.Trial:
        """Claim a trial for this worker."""
        trial = study.ask({key: distribution(space) for key, space in spaces.items()})
        trial.set_user_attr("worker", self._worker)
        trial.set_user_attr("session", self.session)
        return trial

    def _return_dead(self) -> None:
        """Give trials whose worker is gone back to the queue, or up after `DEATHS` times."""
        for key in self.studies.keys:
            for trial in self.studies.records(key):
                worker = trial.user_attrs.get("worker")
                if state_of(trial) == "running" and not (worker and is_locked(self._workers / worker)):
                    self._return(key, trial)

    @cached_property
    def _worker(self) -> str:
        """The name of this worker and of its file, which is locked as long as its process and this object."""
        name = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._held.enter_context(locked(self._workers / name))
        return name

    def _return(self, key: str, dead: FrozenTrial) -> None:
        study, storage = self.studies.study(key), self.studies.storage
        deaths = int(dead.user_attrs.get("deaths", 0)) + 1
        if deaths >= DEATHS:
            why = f"its process was killed {deaths} times (out of memory?)"
            storage.set_trial_user_attr(dead._trial_id, "why", why)
        else:
            followed = dead.number in {t.user_attrs.get("after") for t in self.studies.records(key)}
            # A final run is missing again as soon as this is on record; the setting of a trial must be kept.
            if key != FINALS and not followed:
                attributes = {"after": dead.number, "continues": number_of(dead), "deaths": deaths}
                # Values that were enqueued and not yet drawn are still where `enqueue_trial` put them.
                study.enqueue_trial({**dead.system_attrs.get("fixed_params", {}), **dead.params}, attributes)
            storage.set_trial_user_attr(dead._trial_id, "returned", True)
        study.tell(dead.number, state=TrialState.FAIL)
