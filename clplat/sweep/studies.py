"""The records of a sweep: Optuna studies of the trials of each method and of all final runs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from operator import ge, itemgetter
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from clplat.config.differences import differences, in_words
from clplat.config.resolve import completed
from clplat.errors import UserError
from clplat.files import read_text, write_text
from clplat.measures import find_measure
from clplat.sweep.allocation import State, TrialSummary, is_over
from clplat.sweep.layout import Entry, FinalRun, Layout
from clplat.sweep.plan import plain
from clplat.tuning.spaces import write_space

__all__ = ["FINALS", "SWEEP_ID", "WAYS_OUT", "Studies", "number_of", "state_of", "summary"]

#: The study whose trials are the final runs.
FINALS = "finals"
#: The file with what the names of this sweep's studies begin with.
SWEEP_ID = ".sweep-id"
#: What may differ between a study and a sweep that goes on with it.
SEARCH = {
    "config": "another configuration",
    "space": "another search space",
    "objectives": "other objectives",
    "constraints": "other constraints",
}
WAYS_OUT = "choose another --out, or begin it anew with --anew"


def state_of(trial: FrozenTrial) -> State:
    """Our word for a state of Optuna's."""
    return "failed" if trial.state == TrialState.FAIL else cast(State, trial.state.name.lower())


def number_of(trial: FrozenTrial | optuna.Trial) -> int:
    """The number in the name of a trial and of its folder: that of the first trial which it continues."""
    return int(trial.user_attrs.get("continues", trial.number))


class Studies:
    """The studies of a sweep in their storage.

    Args:
        layout: what there is to do.
        out: folder of the sweep; all workers, of all machines, see the same.
        storage: Optuna's, see `clplat.tuning.storage`.
    """

    def __init__(self, layout: Layout, out: Path, storage: optuna.storages.BaseStorage) -> None:
        self.layout, self.out, self.storage = layout, out, storage
        self._opened: dict[str, optuna.Study] = {}

    def study(self, key: str) -> optuna.Study:
        """The study of an entry, or `FINALS`; made if need be."""
        if key not in self._opened:
            self._opened[key] = optuna.create_study(
                study_name=f"{self._prefix()}/{key}",
                storage=self.storage,
                directions=self._directions(key),
                load_if_exists=True,
            )
        return self._opened[key]

    def _directions(self, key: str) -> list[StudyDirection]:
        names = self.layout.sweep.objectives if key != FINALS else ("final",)
        highers = [find_measure(name).better == "higher" for name in names]
        return [StudyDirection.MAXIMIZE if higher else StudyDirection.MINIMIZE for higher in highers]

    def forget(self, key: str) -> None:
        """Delete a study; the next one of its key begins with trial 0."""
        optuna.delete_study(study_name=self.study(key).study_name, storage=self.storage)
        del self._opened[key]

    @property
    def keys(self) -> list[str]:
        """The keys of all studies."""
        return [*(entry.key for entry in self.layout.studies), FINALS]

    def records(self, key: str) -> list[FrozenTrial]:
        """All trials of a study by number, not copied."""
        return self.study(key).get_trials(deepcopy=False)

    def trials(self, key: str) -> list[FrozenTrial]:
        """The trials of a study by number, without those that only went back to the queue."""
        return [trial for trial in self.records(key) if not trial.user_attrs.get("returned")]

    def final_tries(self) -> dict[str, list[FrozenTrial]]:
        """Folder -> the tries of each final run, the newest last."""
        found: dict[str, list[FrozenTrial]] = {}
        first = self.study(FINALS).user_attrs.get("anew", {})
        for trial in self.trials(FINALS):
            folder = str(trial.user_attrs.get("final", ""))
            if folder and trial.number >= first.get(folder, 0):
                found.setdefault(folder, []).append(trial)
        return found

    def begin_anew(self, folder: str) -> None:
        """The tries of a final run so far are not its own any more."""
        study = self.study(FINALS)
        study.set_user_attr("anew", study.user_attrs.get("anew", {}) | {folder: len(self.records(FINALS))})

    def finals(self) -> Iterator[list[FinalRun]]:
        """The replicates that can be begun: default settings at once, tuned ones when their study is over."""
        for entry in self.layout.entries:
            yield self.layout.finals(entry, "control" if entry.control else "default", {})
        for entry in self.layout.studies:
            params = self.tuned_params(entry)
            if params is not None:
                yield self.layout.finals(entry, "tuned", params)

    def tuned_params(self, entry: Entry) -> dict[str, Any] | None:
        """The best setting of a study that is over; None before, or when nothing beats the default one."""
        summaries = [summary(trial) for trial in self.trials(entry.key)]
        best = self.best(entry.key) if is_over(self.layout.sweep.budget, summaries) else None
        return None if best is None or best.params == entry.default else dict(best.params)

    def best(self, key: str) -> FrozenTrial | None:
        """The best complete trial that meets the constraints; of a front, the one with the best ``final``."""
        signs = [1 if each == StudyDirection.MAXIMIZE else -1 for each in self._directions(key)]
        complete = [trial for trial in self.trials(key) if state_of(trial) == "complete"]
        met = [
            (trial, tuple(sign * value for sign, value in zip(signs, trial.values, strict=True)))
            for trial in complete
            if self._meets_limits(trial)
        ]
        if len(signs) == 1:  # the earliest one of equals: the default stands where nothing is better
            return max(met, key=itemgetter(1), default=(None,))[0]
        front = [
            trial
            for trial, mine in met
            if not any(other != mine and all(map(ge, other, mine)) for _, other in met)
        ]
        return max(front, key=lambda t: t.user_attrs["measures"]["final"] or 0.0, default=None)

    def _meets_limits(self, trial: FrozenTrial) -> bool:
        """From its measures: what older releases recorded knows nothing of undefined ones."""
        excess = self.layout.sweep.excess(trial.user_attrs.get("measures", {}))
        return all(value <= 0 for value in excess.values())

    def check_same(self, entry: Entry) -> None:
        """A study is one search in one configuration: two of them could not be compared.

        Raises:
            UserError: the study on record has another configuration, space, objectives or constraints.
        """
        if other := self.other_search(entry):
            raise UserError(f"the study '{entry.key}' in {self.out} has {other}; {WAYS_OUT}")

    def other_search(self, entry: Entry) -> str:
        """In what the study on record differs, in words; one without trials is free."""
        wanted, study = self._search(entry), self.study(entry.key)
        recorded: Mapping[str, Any] | None = study.user_attrs.get("search")
        if recorded == wanted:
            return ""
        if recorded is None or not self.records(entry.key):
            self.forget(entry.key)  # its directions cannot be changed
            self.study(entry.key).set_user_attr("search", wanted)
            return ""
        config = {key: value for key, value in recorded["config"].items() if key != "device"}
        held = {**wanted, **recorded, "config": {**completed(config), "device": None}}
        if study.directions != self._directions(entry.key):  # older releases did not record the objectives
            held["objectives"] = recorded.get("objectives", [each.name.lower() for each in study.directions])
        found = {what: differences(held[key], wanted[key]) for key, what in SEARCH.items()}
        return ", ".join(f"{what} ({in_words(each)})" for what, each in found.items() if each)

    def _search(self, entry: Entry) -> dict[str, Any]:
        """What makes trials of a study comparable, as plain data."""
        sweep = self.layout.sweep
        found: dict[str, Any] = plain(
            {
                "config": {**self.layout.trial_config(entry, entry.default).as_dict(), "device": None},
                "space": {key: write_space(space) for key, space in entry.space.items()},
                "objectives": list(sweep.objectives),
                "constraints": dict(sweep.constraints),
            }
        )
        return found

    def _prefix(self) -> str:
        """Tells this sweep's studies from those of another one in the same database."""
        path = self.out / SWEEP_ID
        if not path.exists():
            write_text(path, f"{self.out.resolve().name}-{secrets.token_hex(4)}", comment="#")
        return read_text(path).rpartition("\n")[2]


def summary(trial: FrozenTrial) -> TrialSummary:
    """What allocation needs to know of a trial."""
    known = trial.user_attrs.get("measures", {})
    return TrialSummary(
        state_of(trial),
        seconds=known.get("seconds") or 0.0,
        flops=known.get("training_flops") or 0.0,
        session=str(trial.user_attrs.get("session", "")),
    )
