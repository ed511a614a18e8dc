"""The tracker: results into MLflow, one run per seed, under optional trials and sweeps.

The result on disk is the truth and MLflow one reader of it: logging may happen after every domain, at the end
or a week later, any number of times, and a failure of MLflow is a warning of one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clplat.tracking.background import background_logger
from clplat.tracking.destination import Destination
from clplat.tracking.failures import failure_message, guard, warn_once
from clplat.tracking.models import champion_folder, set_champion
from clplat.tracking.parent_runs import finish_parent, start_parent
from clplat.tracking.run_logging import log_run, log_run_files
from clplat.tracking.views import write_tuning_view

__all__ = ["TrackedRun", "Tracker", "log_result"]


class Tracker(Destination):
    """Logs results to the store of one folder of runs; made as a `Destination` is."""

    # What these do stands where they come from. Where MLflow fails, each warns and returns None.
    log_metrics = guard(log_run)
    log_files = guard(log_run_files)
    start_parent = guard(start_parent)
    finish_parent = guard(finish_parent)
    champion_folder = guard(champion_folder)
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
        self.sent.add(about)
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
        if self.sent and not background_logger().wait(self.sent, seconds):
            warn_once(self, failure_message(self.uri, f"it took more than {seconds:.0f} s"))
        self.sent.clear()

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class TrackedRun:
    """A `clplat.tracking.listeners.Writer`: logs the result whenever it grew on disk; nothing waits."""

    name = "MLflow"

    def __init__(self, tracker: Tracker, folder: Path) -> None:
        self.tracker, self.folder = tracker, folder

    def write(self, result: dict[str, Any]) -> None:
        self.tracker.log_async(result, self.folder)

    def close(self) -> None:
        """The tracker may serve other runs; it is closed by whoever made it."""


def log_result(result: Mapping[str, Any], folder: Path) -> str | None:
    """Log one result, partial or complete, as `Tracker.log` does, to the store in the folder's parent.

    Example:
        >>> log_result(result, Path("runs/replay-0"))  # doctest: +SKIP
        '3f0c2b...'
    """
    return Tracker(folder.resolve().parent).log(result, folder)
