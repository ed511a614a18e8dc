"""Where a tracker logs to, and what every run there says: all that the steps of logging need to know."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from clplat.addresses import without_password
from clplat.tracking.store import open_client, open_experiment, tracking_uri

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["Destination"]


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)


class Destination:
    """The store of one folder of runs, and a place among the runs there.

    Args:
        root: the folder of runs; the store is inside it unless ``MLFLOW_TRACKING_URI`` says otherwise.
        level: the tag ``clplat.level`` of the runs that are logged.
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
        self.sent: set[str] = set()  # folders, to the process that logs
        self._experiments: dict[str, str] = {}

    @property
    def address(self) -> str:
        """Of the store, as it may be shown and kept: without a password."""
        return without_password(self.uri)

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
