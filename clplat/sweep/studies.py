"""The records of a sweep: Optuna studies of the trials of each method and of all final runs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

from clplat.config.resolve import completed
from clplat.errors import UserError
from clplat.files import write_text
from clplat.measures import find_measure
from clplat.sweep.allocation import State, TrialSummary, is_over
from clplat.sweep.layout import Entry, FinalRun, Layout
from clplat.sweep.plan import plain
from clplat.tuning.spaces import write_space

__all__ = ["FINALS", "Studies", "number_of", "state_of", "summary"]

#: The study whose trials are the final runs.
FINALS = "finals"


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
            names = self.layout.sweep.objectives if key != FINALS else ("final",)
            highers = [find_measure(name).better == "higher" for name in names]
            self._opened[key] = optuna.create_study(
                study_name=f"{self._prefix()}/{key}",
                storage=self.storage,
                directions=["maximize" if higher else "minimize" for higher in highers],
                load_if_exists=True,
            )
        return self._opened[key]

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
        for trial in self.trials(FINALS):
            if "final" in trial.user_attrs:
                found.setdefault(str(trial.user_attrs["final"]), []).append(trial)
        return found

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
        front = self.study(key).best_trials
        if len(self.layout.sweep.objectives) > 1:
            return max(front, key=lambda t: t.user_attrs["measures"]["final"] or 0.0, default=None)
        # The earliest one of equals: the default stands where nothing is better.
        return next(iter(front), None)

    def check_same(self, entry: Entry) -> None:
        """A study is one search in one configuration: two of them could not be compared.

        Raises:
            UserError: the study on record has another configuration, space or constraints.
        """
        wanted = plain(
            {
                "config": {**self.layout.trial_config(entry, entry.default).as_dict(), "device": None},
                "space": {key: write_space(space) for key, space in entry.space.items()},
                "constraints": dict(self.layout.sweep.constraints),
            }
        )
        study = self.study(entry.key)
        recorded: Mapping[str, Any] | None = study.user_attrs.get("search")
        if recorded is None:
            study.set_user_attr("search", wanted)
        elif {**recorded, "config": completed(recorded["config"])} != wanted:
            what = {"space": "another search space", "constraints": "other constraints"}
            has = next((text for key, text in what.items() if recorded.get(key) != wanted[key]), None)
            raise UserError(
                f"the study '{entry.key}' in {self.out} has {has or 'another configuration'}; "
                "choose another --out"
            )

    def _prefix(self) -> str:
        """Tells this sweep's studies from those of another one in the same database."""
        path = self.out / ".sweep-id"
        if not path.exists():
            write_text(path, f"{self.out.resolve().name}-{secrets.token_hex(4)}")
        return path.read_text(encoding="utf-8")


def summary(trial: FrozenTrial) -> TrialSummary:
    """What allocation needs to know of a trial."""
    known = trial.user_attrs.get("measures", {})
    return TrialSummary(
        state_of(trial),
        seconds=known.get("seconds") or 0.0,
        flops=known.get("training_flops") or 0.0,
        session=str(trial.user_attrs.get("session", "")),
    )
