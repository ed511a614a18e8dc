"""Strategies x seeds on one scenario: the comparison that every claim rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clplat.config import merge, resolve
from clplat.errors import UserError
from clplat.events import Listener
from clplat.terminal import Terminal
from clplat.tracking import Tracker
from clplat.workers import Job, run_jobs

__all__ = ["Comparison", "compare"]

# The longest first: the last job to begin should not be the one that everybody waits for.
DEFAULT_STRATEGIES = ("cumulative", "replay", "distill", "ewc", "naive", "patch", "frozen")


@dataclass
class Comparison:
    """What a comparison found: complete results, and errors by the label of the run that failed."""

    results: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)


class _Tracked(Listener):
    """Passes events on to the terminal and logs the result whenever it grew on disk."""

    def __init__(self, shown: Listener, tracker: Tracker | None, folder: Path) -> None:
        self.shown, self.tracker, self.folder = shown, tracker, folder
        self.started, self.progress, self.cell = shown.started, shown.progress, shown.cell  # type: ignore[method-assign]
        self.note = shown.note  # type: ignore[method-assign]

    def row(self, result: dict[str, Any]) -> None:
        self.shown.row(result)
        if self.tracker is not None:
            self.tracker.log(result, self.folder)

    def finished(self, result: dict[str, Any]) -> None:
        if self.tracker is not None:
            self.tracker.log(result, self.folder)
        self.shown.finished(result)


def tracked(shown: Listener, tracker: Tracker | None, folder: Path) -> Listener:
    """A listener that also tracks; with no tracker, as it is."""
    return _Tracked(shown, tracker, folder)


def compare(
    base: Mapping[str, Any],
    strategies: Sequence[str | Mapping[str, Any]],
    seeds: Sequence[int],
    out: Path,
    *,
    workers: int = 1,
    track: bool = True,
    name: str = "compare strategies",
) -> Comparison:
    """Run every strategy with every seed on the scenario of ``base``; finished runs are not repeated.

    Args:
        base: raw configuration that all runs share.
        strategies: names, or ``{"name": "replay", "size": 50}``.
        seeds: of the experiments.
        out: folder of runs; run ``<strategy>-s<seed>`` lies in it, and MLflow's store unless
            MLFLOW_TRACKING_URI says otherwise.
        workers: processes.
        track: log to MLflow as sweep > trial > seed.

    Raises:
        UserError: a wrong name or value anywhere, before anything runs.
    """
    entries = [{"name": s} if isinstance(s, str) else dict(s) for s in strategies]
    labels = _labels(entries)
    jobs: list[Job] = []
    groups: list[int] = []
    for group, entry in enumerate(entries):
        for seed in seeds:
            config = resolve(merge(merge(base, {"strategy": entry}), {"seed": seed}))
            jobs.append(Job(f"{labels[group]} s{seed}", config, out / f"{labels[group]}-s{seed}"))
            groups.append(group)
    scenario = jobs[0].config["scenario"]["name"]
    tracker = Tracker(out, level="sweep") if track else None
    sweep = None
    if tracker is not None:
        note = f"{len(entries)} strategies x {len(seeds)} seeds on `{scenario}`"
        sweep = tracker.start_parent(
            scenario, name, "sweep", params={"scenario": scenario}, note=note, key=str(out.resolve())
        )
    trials = Tracker(out, level="trial", parent_run_id=sweep) if tracker is not None else None
    parents: dict[int, str | None] = {}
    if trials is not None:
        for group, label in enumerate(labels):
            params = {"strategy": entries[group]["name"]}
            key = f"{out.resolve()}/{label}"
            parents[group] = trials.start_parent(scenario, label, "trial", params=params, key=key)
    with Terminal(len(jobs)) as terminal:

        def listen(index: int, job: Job) -> Listener:
            seed_tracker = (
                Tracker(out, parent_run_id=parents[groups[index]], warn=terminal.say) if track else None
            )
            return tracked(terminal.listener(job.label), seed_tracker, job.folder)

        found = run_jobs(jobs, listen, workers)
    comparison = Comparison()
    for job, outcome in zip(jobs, found, strict=True):
        if isinstance(outcome, UserError):
            comparison.failures[job.label] = str(outcome)
        else:
            comparison.results.append(outcome)
    if trials is not None and tracker is not None:
        for group in range(len(entries)):
            mine = [r for r, g in zip(found, groups, strict=True) if g == group]
            good = [r for r in mine if not isinstance(r, UserError)]
            trials.finish_parent(parents[group], results=good, failed=len(good) < len(mine))
        tracker.finish_parent(sweep, results=comparison.results, failed=bool(comparison.failures))
    return comparison


def _labels(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Strategy names; those that occur more than once are numbered."""
    names = [str(entry["name"]).replace(":", "_").replace("/", "_") for entry in entries]
    return [n if names.count(n) == 1 else f"{n}-{names[: i + 1].count(n)}" for i, n in enumerate(names)]
