"""The tracker: results into MLflow, one run per seed, under optional trials and sweeps.

The result on disk is the truth and MLflow one reader of it: logging may happen after every domain, at the end
or a week later, any number of times, and no failure of MLflow ever reaches the experiment.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clplat.tracking.naming import part
from clplat.tracking.rows import domain_keys, primary, short
from clplat.tracking.store import open_client, open_experiment, tracking_uri

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["Tracker", "log_result"]

T = TypeVar("T")


# Of the process, not of a tracker: a sweep has a tracker a run, and one dead server is one line, and no run
# waits for it again and again.
_reported: set[str] = set()
_silent_until: dict[str, float] = {}
_SLOW, _PAUSE = (
    2.0,
    60.0,
)  # seconds: a failure that took longer than the first is not tried again for the second


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)


class Tracker:
    """Logs results to the store of one folder of runs.

    Args:
        root: the folder of runs; the store is inside it unless ``MLFLOW_TRACKING_URI`` says otherwise.
        level: the tag ``clplat.level`` of what `log` writes.
        parent_run_id: the trial or sweep that everything opened here belongs to.
        warn: gets one line, once per store and process, when MLflow fails.
    """

    def __init__(
        self,
        root: Path,
        *,
        level: str = "seed",
        parent_run_id: str | None = None,
        warn: Callable[[str], None] = _to_stderr,
    ) -> None:
        self.root = root
        self.level = level
        self.parent_run_id = parent_run_id
        self.warn = warn
        self.uri = tracking_uri(root)
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}
        self._viewed: set[tuple[str, tuple[str, ...]]] = set()

    def log(self, result: Mapping[str, Any], folder: Path) -> str | None:
        """Log what the store does not have yet; what was logged is remembered in ``folder/tracking.json``.

        Call it after every domain with the partial result and once with the complete one, or only at the end.

        Returns:
            The run's id, or None when MLflow could not be reached (a later call catches up).
        """
        run_id = self._guarded(lambda: self._log(result, folder.resolve()))
        if run_id is not None:
            self._guarded(lambda: self._write_views(result, ("leaderboard", "curves", "tradeoff")))
        return run_id

    def start_parent(
        self,
        scenario: str,
        name: str,
        level: str,
        *,
        params: Mapping[str, Any] | None = None,
        note: str = "",
        key: str | None = None,
    ) -> str | None:
        """Open a ``sweep`` or a ``trial`` and return its id (None when MLflow could not be reached).

        Args:
            scenario: names the experiment.
            name: the run's name, cut at 24 characters.
            level: ``sweep`` or ``trial``.
            params: what was chosen for it, nested or flat; a ``strategy`` among them gives the colour.
            note: markdown for its page.
            key: anything that identifies it for good (the study's name): a resumed sweep finds its run again.
        """
        from clplat.tracking.parents import open_parent

        def start() -> str:
            client, experiment_id = self._open(scenario)
            tags = {
                "clplat.level": level,
                "clplat.scenario": scenario,
                "mlflow.note.content": note,
            } | self._parent()
            return open_parent(client, experiment_id, name, tags, params or {}, key)

        return self._guarded(start)

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
        from clplat.tracking.parents import close_parent

        def finish() -> None:
            client = self._connect()
            close_parent(client, str(run_id), list(results), metrics or {}, files, note, failed)

        if run_id is not None:
            self._guarded(finish)
            if results and self.level == "trial":
                self._guarded(lambda: self._write_views(results[0], ("means",)))

    def _guarded(self, work: Callable[[], T]) -> T | None:
        """The one place where a failure of tracking ends: whatever it is, the experiment goes on."""
        start = time.monotonic()
        if start < _silent_until.get(self.uri, 0):
            return None
        try:
            return work()
        except Exception as error:  # SQLAlchemy's, requests', the disk's and MLflow's own have no common base
            if time.monotonic() - start > _SLOW:
                _silent_until[self.uri] = time.monotonic() + _PAUSE
            if self.uri not in _reported:
                _reported.add(self.uri)
                why = " ".join(str(error).split())[:200]
                self.warn(
                    f"not tracked in MLflow ({self.uri}): {type(error).__name__}: {why}; the results on disk "
                    "are whole, and `clplat track <folder>` logs them later"
                )
            return None

    def _connect(self) -> MlflowClient:
        if self._client is None:
            self._client = open_client(self.uri)
        return self._client

    def _open(self, scenario: str) -> tuple[MlflowClient, str]:
        client = self._connect()
        if scenario not in self._experiments:
            self._experiments[scenario] = open_experiment(client, self.uri, scenario)
        return client, self._experiments[scenario]

    def _parent(self) -> dict[str, str]:
        return {"mlflow.parentRunId": self.parent_run_id} if self.parent_run_id else {}

    def _log(self, result: Mapping[str, Any], folder: Path) -> str:
        from clplat.tracking.seeds import log_seed

        client, experiment_id = self._open(part(result["config"], "scenario"))
        tags = {"clplat.level": self.level} | self._parent()
        return log_seed(client, self.uri, experiment_id, result, folder, tags)

    def _write_views(self, result: Mapping[str, Any], keys: tuple[str, ...]) -> None:
        """Once per experiment and tracker: the views are the same for all its runs."""
        from clplat.tracking.views import write_views

        client, experiment_id = self._open(part(result["config"], "scenario"))
        if (experiment_id, keys) not in self._viewed:
            self._viewed.add((experiment_id, keys))
            metric, domains = short(primary(result)), domain_keys(result["domains"])
            write_views(client, experiment_id, metric, domains, keys)


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
