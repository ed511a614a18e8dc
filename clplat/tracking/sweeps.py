"""A sweep in MLflow: its runs below studies and methods, its table and report on the page of its own run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from clplat.events import Listener
from clplat.files import read_json
from clplat.locks import locked
from clplat.runs.run_folder import RESULT
from clplat.sweep.layout import Entry, Layout
from clplat.sweep.queue import Job
from clplat.tracking.listener import TrackedListener
from clplat.tracking.tracker import Tracker

__all__ = ["SweepTracker"]


class SweepTracker:
    """The MLflow runs of one sweep: sweep > study > trial on val, and sweep > method > seed on test.

    Args:
        layout: of the sweep.
        out: its folder; the store is in it unless ``MLFLOW_TRACKING_URI`` says otherwise.
        warn: prints a line: when MLflow fails, and which model is the champion.
    """

    def __init__(self, layout: Layout, out: Path, warn: Callable[[str], None]) -> None:
        self.layout, self.out, self.warn = layout, out, warn
        self.entries = {entry.key: entry for entry in layout.entries}
        self.scenario = layout.entries[0].config.name("scenario")
        self.top = Tracker(out, level="sweep", warn=warn)
        sweep = layout.sweep
        note = f"{sweep.question}\n\n{len(layout.entries)} methods x {len(sweep.seeds)} seeds"
        with self._alone():
            self.sweep = self.top.start_parent(
                self.scenario, sweep.name, "sweep", note=note.strip(), key=str(out.resolve())
            )
        self.parents: dict[tuple[str, str], str | None] = {}
        self.loggers: dict[tuple[str, str], Tracker] = {}

    def listener(self, shown: Listener, job: Job) -> Listener:
        """What logs one run, below the run of its method or study."""
        return TrackedListener(shown, self._logger(job.entry, job.kind), self.out / job.folder)

    def _logger(self, key: str, kind: str) -> Tracker:
        if (key, kind) not in self.loggers:
            above = self._parent(self.entries[key], kind)
            self.loggers[key, kind] = Tracker(
                self.out,
                level="trial" if kind == "study" else "seed",
                parent_run_id=above,
                label=_name(self.entries[key], kind),
                warn=self.warn,
            )
        return self.loggers[key, kind]

    def _parent(self, entry: Entry, kind: str) -> str | None:
        if (entry.key, kind) not in self.parents:
            with self._alone():
                self.parents[entry.key, kind] = self._parents_tracker(kind).start_parent(
                    self.scenario,
                    f"tune {_name(entry, kind)}" if kind == "study" else _name(entry, kind),
                    "study" if kind == "study" else "trial",
                    params={"strategy": entry.config.name("strategy")},
                    key=f"{self.out.resolve()}/{kind}/{entry.key}",
                )
        return self.parents[entry.key, kind]

    def _alone(self) -> AbstractContextManager[None]:
        """Runs are found by a key and made where there are none: not by two workers at once."""
        return locked(self.out / ".tracking.lock")

    def _parents_tracker(self, kind: str) -> Tracker:
        level = "study" if kind == "study" else "trial"
        return Tracker(self.out, level=level, parent_run_id=self.sweep, warn=self.warn)

    def finish(self, outcome: Mapping[str, Any], files: list[Path]) -> None:
        """Close everything: means on the methods' pages, table, figure and report on the sweep's.

        Args:
            outcome: of `clplat.sweep.outcome.collect`.
            files: to be logged with the sweep.
        """
        folders = [folder for row in outcome["rows"] for folder in row["folders"]]
        results = {folder: read_json(self.out / folder / RESULT) for folder in folders}
        self._close_failures(outcome)
        self.close()
        # Also those that a worker opened, here or on another machine: they are found by their keys.
        places = {(entry.group, entry.method): entry for entry in self.layout.entries}
        for study in outcome["studies"]:
            self._close_study(places[study["group"], study["method"]], study)
        for row in outcome["rows"]:
            run_id = self._parent(places[row["group"], row["method"]], row["kind"])
            mine = [results[folder] for folder in row["folders"]]
            self._parents_tracker(row["kind"]).finish_parent(run_id, results=mine)
        closed = {(places[row["group"], row["method"]].key, row["kind"]) for row in outcome["rows"]}
        for (key, kind), run_id in self.parents.items():
            if kind != "study" and (key, kind) not in closed:  # no replicate was completed
                self._parents_tracker(kind).finish_parent(run_id, failed=True)
        self.top.finish_parent(
            self.sweep,
            results=list(results.values()),
            files=files,
            note=outcome["sentence"],
            failed=outcome["status"] != "complete",
        )
        self._views(outcome)
        champion = self._set_champion(outcome)
        if champion is not None:
            self.warn(f"champion: clplat search --model models:/{champion}@champion --out {self.out} ...")

    def close(self) -> None:
        """Wait until the store has every run."""
        for tracker in self.loggers.values():
            tracker.close()

    def _set_champion(self, outcome: Mapping[str, Any]) -> str | None:
        """Make the best contender's first replicate the registered champion; its name, None if that failed.

        The first, not the best: choosing among replicates by their test score would flatter it.
        """
        ahead = [row for row in outcome["rows"] if row["kind"] != "control" and row["feasible"] is not False]
        if not ahead or len({row["group"] for row in outcome["rows"]}) > 1:
            return None
        best = max(ahead, key=lambda row: row["score"]["mean"])
        return self.top.set_champion(self.out / best["folders"][0], self.scenario)

    def _close_failures(self, outcome: Mapping[str, Any]) -> None:
        """Log the failure of runs that were given up because their process was killed."""
        kinds = {final: kind for final, kind in _kinds(outcome, self.layout)}
        for failure in outcome["failures"]:
            path = self.out / failure["folder"] / RESULT
            where = kinds.get(failure["folder"])
            if where is None or not path.exists():
                continue
            result = read_json(path)
            if result["status"] == "running":
                lost = {**result, "status": "failed", "failure": {"error": failure["why"]}}
                self._logger(*where).log_async(lost, self.out / failure["folder"])

    def _close_study(self, entry: Entry, study: Mapping[str, Any]) -> None:
        best = next((t for t in study["trials"] if t["number"] == study["best"] and t["values"]), None)
        metrics = {"tune/trials": float(study["spent"]["trials"]), "tune/seconds": study["spent"]["seconds"]}
        if best is not None:
            metrics["tune/best"] = best["values"][0]
        note = "no trial meets the constraints" if best is None else f"best: `{best['params']}`"
        run_id = self._parent(entry, "study")
        self._parents_tracker("study").finish_parent(run_id, metrics=metrics, note=note)

    def _views(self, outcome: Mapping[str, Any]) -> None:
        searched = dict.fromkeys(key for study in outcome["studies"] for key in study["space"])
        if searched and outcome["primary"]:
            self.top.write_tuning_view(self.scenario, outcome["primary"], ["strategy", *searched])


def _name(entry: Entry, kind: str) -> str:
    group = f" ({entry.group})" if entry.group else ""
    return entry.method + (" (tuned)" if kind == "tuned" else "") + group


def _kinds(outcome: Mapping[str, Any], layout: Layout) -> list[tuple[str, tuple[str, str]]]:
    """Folder -> (key of the entry, kind) of every run that there may be."""
    found = []
    for entry in layout.entries:
        kinds = ("control",) if entry.control else ("default", "tuned")
        for kind in kinds:
            found += [(final.folder, (entry.key, kind)) for final in layout.finals(entry, kind, {})]
    for study in outcome["studies"]:
        entry = next(e for e in layout.entries if (e.group, e.method) == (study["group"], study["method"]))
        found += [(trial["folder"], (entry.key, "study")) for trial in study["trials"]]
    return found
