"""The tracker: results into MLflow, one run per seed, under optional trials and sweeps.

The result on disk is the truth and MLflow one reader of it: logging may happen after every domain, at the end
or a week later, any number of times, and a failure of MLflow is a warning of one line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.events import Listener
from clplat.tracking.background import background_logger
from clplat.tracking.failures import failure_message, guard, warn_once
from clplat.tracking.models import set_champion
from clplat.tracking.parent_runs import finish_parent, start_parent
from clplat.tracking.run_logging import log_run, log_run_files
from clplat.tracking.store import open_client, open_experiment, tracking_uri
from clplat.tracking.views import write_tuning_view

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["TrackedListener", "Tracker", "log_result"]


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)


class Tracker:
    """Logs results to the store of one folder of runs.

    Args:
        root: the folder of runs; the store is inside it unless ``MLFLOW_TRACKING_URI`` says otherwise.
        level: the tag ``clplat.level`` of the runs that `log` writes.
        parent_run_id: the trial or sweep above the runs and parents that are opened here.
        label: the method's name; by default that of its configuration (`naming.label`).
        warn: called with one line, once per store and process, when MLflow fails.
    """

    def __init__(
        self,
        root: Path,
        *,
        level: str = "seed",
        parent_run_id: str | None = None,
        label: str | None = None,
        warn: Callable[[str], None] = _to_stderr,
    ) -> None:
        self.root, self.label, self.level, self.warn = root, label, level, warn
        self.parent_run_id = parent_run_id
        self.uri = tracking_uri(root)
        self.with_views: set[str] = set()
        self._experiments: dict[str, str] = {}
        self._sent: set[str] = set()

    # What these do stands where they come from. Where MLflow fails, each warns and returns None.
    log_metrics = guard(log_run)
    log_files = guard(log_run_files)
    start_parent = guard(start_parent)
    finish_parent = guard(finish_parent)
    set_champion = guard(set_champion)
    write_tuning_view = guard(write_tuning_view)

    def log(self, result: Mapping[str, Any], folder: Path) -> str | None:
        """Log what the store does not have yet; what was logged is remembered in ``folder/tracking.json``.

        Call it after every domain with the partial result and once with the complete one, or only at the end.

        Returns:
            The run's id, or None when MLflow could not be reached (a later call catches up).
        """
        run_id = self.log_metrics(result, folder)
        if run_id is not None:
            self.log_files(result, folder)
        return run_id

    def log_async(self, result: Mapping[str, Any] | None, folder: Path) -> None:
        """As `log`, but a process of its own does the work, and `close` waits for its metrics.

        Example:
            >>> with Tracker(root) as tracker:  # doctest: +SKIP
            ...     for result in results:
            ...         tracker.log_async(result, folder)
        """
        about = str(folder.resolve())
        tracker = [str(self.root.resolve()), self.level, self.parent_run_id, self.label]
        self._sent.add(about)
        background_logger().send({"tracker": tracker, "folder": about, "result": result}, self)

    def start_background(self) -> None:
        """Start the process of `log_async` early: it loads MLflow for seconds while you load torch."""
        self.log_async(None, self.root)

    @guard
    def connect(self) -> None:
        """Load MLflow and matplotlib, and see that the store answers."""
        from clplat.plots.canvas import panels

        self.client.search_experiments(max_results=1)
        panels(1, 1, 1)

    def close(self, seconds: float = 120) -> None:
        """Wait, at most ``seconds``, until the metrics of `log_async` are in the store; the files follow."""
        if self._sent and not background_logger().wait(self._sent, seconds):
            warn_once(self, failure_message(self.uri, f"it took more than {seconds:.0f} s"))
        self._sent.clear()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @cached_property
    def client(self) -> MlflowClient:
        """Of the store, opened when it is first needed."""
        return open_client(self.uri)

    def experiment(self, scenario: str) -> str:
        """The id of a scenario's experiment, which is made if need be."""
        if scenario not in self._experiments:
            self._experiments[scenario] = open_experiment(self.client, self.uri, scenario)
        return self._experiments[scenario]

    def tags(self, level: str) -> dict[str, str]:
        """What every run says that is opened here: its level, what made it, and the run above it."""
        tags = {"clplat.level": level, "mlflow.source.name": "clplat", "mlflow.source.type": "LOCAL"}
        return tags | ({"mlflow.parentRunId": self.parent_run_id} if self.parent_run_id else {})


class TrackedListener(Listener):
    """Passes events on to the terminal and logs the result whenever it grew on disk; nothing waits."""

    def __init__(self, shown: Listener, tracker: Tracker, folder: Path) -> None:
        self.shown, self.tracker, self.folder = shown, tracker, folder
        self.started, self.progress, self.cell = shown.started, shown.progress, shown.cell  # type: ignore[method-assign]
        self.note, self.failed = shown.note, shown.failed  # type: ignore[method-assign]

    def row(self, result: dict[str, Any]) -> None:
        self.shown.row(result)
        self.tracker.log_async(result, self.folder)

    def finished(self, result: dict[str, Any]) -> None:
        self.tracker.log_async(result, self.folder)
        self.shown.finished(result)


def log_result(result: Mapping[str, Any], folder: Path) -> str | None:
    """Log one result, partial or complete, as `Tracker.log` does, to the store in the folder's parent.

    Example:
        >>> log_result(result, Path("runs/replay-0"))  # doctest: +SKIP
        '3f0c2b...'
    """
    return Tracker(folder.resolve().parent).log(result, folder)
