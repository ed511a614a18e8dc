"""A sweep in MLflow: its runs below studies and methods, its table and report on the page of its own run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from clplat.documents.result import read_result
from clplat.events import Listener
from clplat.report.outcome import name_of
from clplat.runs.run_folder import RESULT
from clplat.sweep.layout import Layout, slug
from clplat.sweep.queue import Job
from clplat.tracking.champion import contender, why_not
from clplat.tracking.listeners import AlsoListener
from clplat.tracking.tracker import TrackedRun, Tracker

__all__ = ["SweepTracker"]

#: Key of an entry of the layout, and the kind of its runs: ``study`` for trials, or that of final runs.
Place = tuple[str, str]


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
        sweep = layout.sweep
        note = f"{sweep.question}\n\n{len(layout.entries)} methods x {len(sweep.seeds)} seeds"
        self.sweep = Tracker(out, warn=warn).start_parent(
            self.scenario, sweep.name, "sweep", note=note.strip(), key=str(out.resolve())
        )
        self.below = Tracker(out, parent_run_id=self.sweep, warn=warn)
        self.parents: dict[Place, str | None] = {}
        self.loggers: dict[Place, Tracker] = {}

    def listener(self, shown: Listener, job: Job) -> Listener:
        """What logs one run, below the run of its method or study."""
        run = TrackedRun(self._logger((job.entry, job.kind)), self.out / job.folder)
        return AlsoListener(shown, [run])

    def _logger(self, place: Place) -> Tracker:
        if place not in self.loggers:
            self.loggers[place] = Tracker(
                self.out,
                level="trial" if place[1] == "study" else "seed",
                parent_run_id=self._parent(place),
                label=self._name(place),
                warn=self.warn,
            )
        return self.loggers[place]

    def _parent(self, place: Place) -> str | None:
        """The run of a method or study, also of those that a worker opened: they are found by their keys."""
        if place not in self.parents:
            (key, kind), name = place, self._name(place)
            self.parents[place] = self.below.start_parent(
                self.scenario,
                f"tune {name}" if kind == "study" else name,
                "study" if kind == "study" else "trial",
                params={"strategy": self.entries[key].config.name("strategy")},
                key=f"{self.out.resolve()}/{kind}/{key}",
            )
        return self.parents[place]

    def _name(self, place: Place) -> str:
        entry, tuned = self.entries[place[0]], " (tuned)" if place[1] == "tuned" else ""
        return entry.method + tuned + (f" ({entry.group})" if entry.group else "")

    def finish(self, outcome: Mapping[str, Any], files: list[Path]) -> None:
        """Close everything: means on the methods' pages, table, figure and report on the sweep's.

        Args:
            outcome: of `clplat.sweep.outcome.collect`.
            files: to be logged with the sweep.
        """
        folders = [folder for row in outcome["rows"] for folder in row["folders"]]
        results = {folder: read_result(self.out / folder / RESULT) for folder in folders}
        self._close_failures(outcome)
        self.close()
        for study in outcome["studies"]:
            self._close_study(study)
        closed = {_place(row, row["kind"]): row["folders"] for row in outcome["rows"]}
        for place, folders in closed.items():
            self.below.finish_parent(self._parent(place), results=[results[folder] for folder in folders])
        for place, run_id in self.parents.items():
            if place[1] != "study" and place not in closed:  # no replicate was completed
                self.below.finish_parent(run_id, failed=True)
        if champion := self._set_champion(outcome):
            self.warn(champion)
        self.below.finish_parent(
            self.sweep,
            results=list(results.values()),
            files=files,
            grids={
                name_of(r): (r["strategy"], self.out / r["folders"][0] / "grids")
                for r in outcome["rows"]
                if r["folders"]
            },
            note="\n\n".join(filter(None, (outcome["sentence"], champion))),
            failed=outcome["status"] != "complete",
        )
        tuned = {self._name(_place(study, "study")): list(study["space"]) for study in outcome["studies"]}
        if any(tuned.values()) and outcome["primary"]:
            searched = {name: options for name, options in tuned.items() if options}
            self.below.write_tuning_view(self.scenario, outcome["primary"], searched)

    def close(self) -> None:
        """Wait until the store has every run."""
        for tracker in self.loggers.values():
            tracker.close()

    def _set_champion(self, outcome: Mapping[str, Any]) -> str:
        """Make the best contender's first replicate the registered champion, if it is one; what came of it.

        The first, not the best: choosing among replicates by their test score would flatter it.
        """
        best = contender(outcome)
        if best is None or outcome["status"] != "complete":
            return ""
        if why := why_not(outcome, self.out, self.below.champion_folder(self.scenario)):
            return f"no new champion: {why}"
        name = self.below.set_champion(self.out / best["folders"][0], self.scenario)
        if name is None:  # said by the tracker
            return ""
        return f"champion: clplat search --model models:/{name}@champion --out {self.out} ..."

    def _close_failures(self, outcome: Mapping[str, Any]) -> None:
        """Log the failure of runs that were given up because their process was killed."""
        places: dict[str, Place] = {}  # folder of a run -> where it belongs
        for study in outcome["studies"]:
            places |= {trial["folder"]: _place(study, "study") for trial in study["trials"]}
        for entry in self.layout.entries:
            for kind in ("control",) if entry.control else ("default", "tuned"):
                places |= {f.folder: (entry.key, kind) for f in self.layout.finals(entry, kind, {})}
        for failure in outcome["failures"]:
            folder = self.out / failure["folder"]
            if failure["folder"] not in places or not (folder / RESULT).exists():
                continue
            result = read_result(folder / RESULT)
            if result["status"] == "running":
                lost = {**result, "status": "failed", "failure": {"error": failure["why"]}}
                self._logger(places[failure["folder"]]).log_async(lost, folder)

    def _close_study(self, study: Mapping[str, Any]) -> None:
        best = next((t for t in study["trials"] if t["number"] == study["best"] and t["values"]), None)
        metrics = {"tune/trials": float(study["spent"]["trials"]), "tune/seconds": study["spent"]["seconds"]}
        if best is not None:
            metrics["tune/best"] = best["values"][0]
        note = "no trial meets the constraints" if best is None else f"best: `{best['params']}`"
        self.below.finish_parent(self._parent(_place(study, "study")), metrics=metrics, note=note)


def _place(held: Mapping[str, Any], kind: str) -> Place:
    """Of a study or a row of the outcome."""
    return slug(held["group"], held["method"]), kind
