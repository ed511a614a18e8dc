"""A sweep in MLflow: its runs below studies and methods, its table and report on the page of its own run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clplat.errors import UserError
from clplat.events import Listener
from clplat.sweep.layout import Layout
from clplat.tracking import Tracker

__all__ = ["Logged", "SweepTracker", "tracked"]


class Logged(Listener):
    """Passes events on to the terminal and logs the result whenever it grew on disk."""

    def __init__(self, shown: Listener, tracker: Tracker, folder: Path) -> None:
        self.shown, self.tracker, self.folder = shown, tracker, folder
        self.started, self.progress, self.cell = shown.started, shown.progress, shown.cell  # type: ignore[method-assign]
        self.note, self.failed = shown.note, shown.failed  # type: ignore[method-assign]

    def row(self, result: dict[str, Any]) -> None:
        self.shown.row(result)
        self.tracker.log(result, self.folder)

    def finished(self, result: dict[str, Any]) -> None:
        self.tracker.log(result, self.folder)
        self.shown.finished(result)


def tracked(shown: Listener, tracker: Tracker | None, folder: Path) -> Listener:
    """A listener that also tracks; with no tracker, as it is."""
    return shown if tracker is None else Logged(shown, tracker, folder)


class SweepTracker:
    """The MLflow runs of one sweep: sweep > study > trial on val, and sweep > method > seed on test.

    Args:
        layout: of the sweep.
        out: its folder; the store is in it unless ``MLFLOW_TRACKING_URI`` says otherwise.
        warn: gets one line when MLflow fails.
    """

    def __init__(self, layout: Layout, out: Path, warn: Any) -> None:
        self.layout, self.out, self.warn = layout, out, warn
        self.scenario = layout.entries[0].config["scenario"]["name"]
        self.top = Tracker(out, level="sweep", warn=warn)
        sweep = layout.sweep
        note = f"{sweep.question}\n\n{len(layout.entries)} methods x {len(sweep.seeds)} seeds"
        self.sweep = self.top.start_parent(
            self.scenario, sweep.name, "sweep", note=note.strip(), key=str(out.resolve())
        )
        self.parents: dict[tuple[str, str], str | None] = {}

    def listener(self, shown: Listener, folder: str, key: str, kind: str) -> Listener:
        """What logs one run, below the run of its method or study."""
        level = "trial" if kind == "study" else "seed"
        tracker = Tracker(self.out, level=level, parent_run_id=self._parent(key, kind), warn=self.warn)
        return tracked(shown, tracker, self.out / folder)

    def _parent(self, key: str, kind: str) -> str | None:
        if (key, kind) not in self.parents:
            entry = next(entry for entry in self.layout.entries if entry.key == key)
            name = {"study": f"tune {key}", "tuned": f"{key} tuned"}.get(kind, key)
            level = "study" if kind == "study" else "trial"
            tracker = Tracker(self.out, level=level, parent_run_id=self.sweep, warn=self.warn)
            params = {"strategy": entry.config["strategy"]["name"]}
            self.parents[key, kind] = tracker.start_parent(
                self.scenario, name, level, params=params, key=f"{self.out.resolve()}/{kind}/{key}"
            )
        return self.parents[key, kind]

    def finish(self, outcome: Mapping[str, Any], results: Mapping[str, Any], files: list[Path]) -> None:
        """Close everything: means on the methods' pages, table, figure and report on the sweep's."""
        for (key, kind), run_id in self.parents.items():
            if kind == "study":
                self._close_study(key, run_id, outcome)
            else:
                mine = [r for folder, r in results.items() if folder.startswith(f"{key}{_suffix(kind)}-s")]
                Tracker(self.out, level="trial", parent_run_id=self.sweep, warn=self.warn).finish_parent(
                    run_id, results=mine, failed=not mine
                )
        failed = bool(outcome["failures"])
        self.top.finish_parent(
            self.sweep,
            results=list(results.values()),
            files=files,
            note=outcome["sentence"],
            failed=failed and outcome["status"] != "complete",
        )

    def _close_study(self, key: str, run_id: str | None, outcome: Mapping[str, Any]) -> None:
        entry = next(entry for entry in self.layout.entries if entry.key == key)
        study = next(
            s for s in outcome["studies"] if (s["group"], s["method"]) == (entry.group, entry.method)
        )
        best = next((t for t in study["trials"] if t["number"] == study["best"] and t["values"]), None)
        metrics = {"tune/trials": float(study["spent"]["trials"]), "tune/seconds": study["spent"]["seconds"]}
        if best is not None:
            metrics["tune/best"] = best["values"][0]
        note = "no trial meets the constraints" if best is None else f"best: `{best['params']}`"
        Tracker(self.out, level="study", parent_run_id=self.sweep, warn=self.warn).finish_parent(
            run_id, metrics=metrics, note=note
        )


def _suffix(kind: str) -> str:
    return "-tuned" if kind == "tuned" else ""


def refuse_foreign(out: Path) -> None:
    """A folder of something else is not filled with runs.

    Raises:
        UserError: the folder is a file, or holds one experiment.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; choose another --out")
    if (out / "result.json").exists():
        raise UserError(f"{out} holds one experiment, not a sweep; choose another --out")
