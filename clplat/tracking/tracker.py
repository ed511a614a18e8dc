"""The tracker: results into MLflow, one run per seed, under optional trials and sweeps.

The result on disk is the truth and MLflow one reader of it: logging may happen after every domain, at the end
or a week later, any number of times, and a failure of MLflow is a warning of one line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.naming import part
from clplat.tracking.background import background_logger
from clplat.tracking.failures import failure_message, guard, warn_once
from clplat.tracking.metrics import domain_keys, primary, short
from clplat.tracking.store import open_client, open_experiment, tracking_uri

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["Tracker", "log_result"]


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
        self.root = root
        self.label = label
        self.level = level
        self.parent_run_id = parent_run_id
        self.warn = warn
        self.uri = tracking_uri(root)
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}
        self._sent: set[str] = set()
        self._with_views: set[str] = set()

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

    @guard
    def log_metrics(self, result: Mapping[str, Any], folder: Path) -> str:
        """The first half of `log`: everything but pictures and the files of models."""
        from clplat.tracking.run_logging import log_run

        client, experiment_id = self._open(part(result["config"], "scenario"))
        tags = self._tags(self.level) | ({"clplat.label": self.label} if self.label else {})
        return log_run(client, self.uri, experiment_id, result, folder.resolve(), tags)

    @guard
    def log_files(self, result: Mapping[str, Any], folder: Path) -> None:
        """The second half of `log`: models, retrieval grids, figures of a run that is over, views."""
        from clplat.tracking.run_logging import log_run_files

        log_run_files(self._connect(), result, folder.resolve())
        self._write_views(result)

    def log_async(self, result: Mapping[str, Any], folder: Path) -> None:
        """As `log`, but a process of its own does the work, and `close` waits for its metrics.

        Example:
            >>> with Tracker(root) as tracker:  # doctest: +SKIP
            ...     for result in results:
            ...         tracker.log_async(result, folder)
        """
        self._send(result, folder)

    def start_background(self) -> None:
        """Start the process of `log_async` early: it loads MLflow for seconds while you load torch."""
        self._send(None, self.root)

    def _send(self, result: Mapping[str, Any] | None, folder: Path) -> None:
        tracker = [str(self.root.resolve()), self.level, self.parent_run_id, self.label]
        about = str(folder.resolve())
        self._sent.add(about)
        background_logger().send({"tracker": tracker, "folder": about, "result": result}, self)

    @guard
    def connect(self) -> None:
        """Load MLflow and matplotlib, and see that the store answers."""
        from clplat.plots.canvas import panels

        self._connect().search_experiments(max_results=1)
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

    @guard
    def start_parent(
        self,
        scenario: str,
        name: str,
        level: str,
        *,
        params: Mapping[str, Any] | None = None,
        note: str = "",
        key: str | None = None,
    ) -> str:
        """Open a ``sweep`` or a ``trial`` and return its id (None when MLflow could not be reached).

        Args:
            scenario: names the experiment.
            name: the run's name, cut at 24 characters.
            level: ``sweep`` or ``trial``.
            params: its configuration, nested or flat; a ``strategy`` among them gives the colour.
            note: markdown for its page.
            key: anything that identifies it for good (the study's name): a resumed sweep finds its run again.
        """
        from clplat.tracking.parent_runs import open_parent

        client, experiment_id = self._open(scenario)
        tags = {**self._tags(level), "clplat.scenario": scenario, "mlflow.note.content": note}
        return open_parent(client, experiment_id, name, tags, params or {}, key)

    @guard
    def finish_parent(
        self,
        run_id: str | None,
        *,
        results: Sequence[Mapping[str, Any]] = (),
        metrics: Mapping[str, float] | None = None,
        files: Sequence[Path] = (),
        note: str | None = None,
        failed: bool = False,
    ) -> None:
        """Close a parent: means over the seeds of ``results`` with their spread, tables, figures, files.

        Results of one method give its mean matrix, results of several the comparison and its winner. A
        ``run_id`` of None (its start was not tracked) does nothing.
        """
        from clplat.tracking.parent_runs import close_parent

        if run_id is not None:
            close_parent(self._connect(), run_id, results, metrics or {}, files, note, failed)

    @guard
    def set_champion(self, folder: Path, scenario: str) -> str:
        """Register the newest model of the run logged from ``folder`` as champion of ``clplat-<scenario>``.

        The same model again makes no new version.

        Returns:
            The registered name, for ``clplat search --model models:/clplat-catalogue@champion``; None when it
            could not be done.
        """
        from clplat.tracking.models import set_champion

        return set_champion(self._connect(), folder.resolve(), scenario)

    @guard
    def write_tuning_view(self, scenario: str, metric: str, params: Sequence[str]) -> None:
        """Write the view of a study's trials, those of level ``trial`` on split ``val``.

        Args:
            scenario: names the experiment.
            metric: what the trials were chosen by: ``R@5`` or ``R5``.
            params: what they searched, dotted: ``strategy.lam``.
        """
        from clplat.tracking.views import tuning_state, write_views

        client, experiment_id = self._open(scenario)
        write_views(client, experiment_id, {"tuning": tuning_state(short(metric), params)})

    def _write_views(self, result: Mapping[str, Any]) -> None:
        """Once per experiment and tracker: the views are the same for all its runs."""
        from clplat.tracking.views import view_states, write_views

        client, experiment_id = self._open(part(result["config"], "scenario"))
        if experiment_id not in self._with_views:
            self._with_views.add(experiment_id)
            metric, domains = short(primary(result)), domain_keys(result["domains"])
            write_views(client, experiment_id, view_states(metric, domains))

    def _connect(self) -> MlflowClient:
        if self._client is None:
            self._client = open_client(self.uri)
        return self._client

    def _open(self, scenario: str) -> tuple[MlflowClient, str]:
        client = self._connect()
        if scenario not in self._experiments:
            self._experiments[scenario] = open_experiment(client, self.uri, scenario)
        return client, self._experiments[scenario]

    def _tags(self, level: str) -> dict[str, str]:
        above = {"mlflow.parentRunId": self.parent_run_id} if self.parent_run_id else {}
        return {"clplat.level": level, **above}


def log_result(
    result: Mapping[str, Any],
    folder: Path,
    *,
    root: Path | None = None,
    parent_run_id: str | None = None,
    level: str = "seed",
) -> str | None:
    """Log one result, partial or complete, as `Tracker.log` does; ``root`` defaults to the folder's parent.

    Example:
        >>> log_result(result, Path("runs/replay-0"))  # doctest: +SKIP
        '3f0c2b...'
    """
    tracker = Tracker(root or folder.resolve().parent, level=level, parent_run_id=parent_run_id)
    return tracker.log(result, folder)
