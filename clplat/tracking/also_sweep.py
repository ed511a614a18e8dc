"""``--also`` of a sweep: every run is written by the same writers as one alone, whoever else listens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.events import Listener
from clplat.sweep.layout import Layout
from clplat.sweep.queue import Job
from clplat.sweep.worker_spec import SweepListener, SweepListenerFactory
from clplat.tracking.listeners import AlsoListener, writers

__all__ = ["AlsoSweep"]


@dataclass(frozen=True)
class AlsoSweep:
    """Makes the listener of a sweep that writes each run elsewhere as well; it crosses processes.

    Args:
        names: of writers, by comma.
        tracker: makes the listener that logs to MLflow; None for none.

    Raises:
        UserError: an unknown name; a library that is not installed, with its extra.
    """

    names: str
    tracker: SweepListenerFactory | None = None

    def __post_init__(self) -> None:
        writers(self.names, Path())  # before anything runs; they touch nothing before there is a result

    def __call__(self, layout: Layout, out: Path, warn: Callable[[str], None]) -> SweepListener:
        return _Writing(self.names, out, None if self.tracker is None else self.tracker(layout, out, warn))


class _Writing:
    """Adds the writers of its folder to the listener of each run."""

    def __init__(self, names: str, out: Path, inner: SweepListener | None) -> None:
        self.names, self.out, self.inner = names, out, inner
        self.told: set[str] = set()

    def listener(self, shown: Listener, job: Job) -> Listener:
        inner = shown if self.inner is None else self.inner.listener(shown, job)
        return AlsoListener(inner, writers(self.names, self.out / job.folder), self.told)

    def close(self) -> None:
        if self.inner is not None:
            self.inner.close()

    def finish(self, outcome: Mapping[str, Any], files: list[Path]) -> None:
        if self.inner is not None:
            self.inner.finish(outcome, files)
