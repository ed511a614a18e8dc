"""Where runs are tracked: one absolute store beside the runs, one experiment per scenario.

MLflow takes seconds to import, so every function here imports it when called.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from clplat.tracking.descriptions import HOW_TO_READ

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["ARTIFACTS", "DATABASE", "experiment_name", "open_client", "open_experiment", "tracking_uri"]

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"


def tracking_uri(root: Path) -> str:
    """The store that belongs to a folder of runs: ``MLFLOW_TRACKING_URI`` if set, else a database inside it.

    MLflow's own default follows the current directory, so that the same command in another folder writes
    elsewhere; this one does not.

    Example:
        >>> tracking_uri(Path("/data/runs"))  # doctest: +SKIP
        'sqlite:////data/runs/mlflow.db'
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / DATABASE}"


def _artifact_root(uri: str) -> Path | None:
    """The artifact folder beside a sqlite file; None lets a server decide (it serves its own)."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///")).resolve().parent / ARTIFACTS


def _quiet() -> None:
    """No telemetry, few messages, short timeouts; what the user has set stays."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    for name in ("alembic", "mlflow.store.db.utils"):  # a page of migration messages for every new database
        logging.getLogger(name).setLevel(logging.WARNING)


def open_client(uri: str) -> MlflowClient:
    """A client of one store. It touches no global MLflow state, so a user's own tracking is undisturbed."""
    _quiet()
    from mlflow.tracking import MlflowClient

    _quiet()  # importing MLflow configures its loggers again
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).resolve().parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri)


def experiment_name(scenario: str) -> str:
    """``"catalogue"`` -> ``"clplat/catalogue"``."""
    return f"clplat/{scenario}"


def open_experiment(client: MlflowClient, uri: str, scenario: str) -> str:
    """The id of the scenario's experiment, created if need be; several processes may ask at once."""
    from mlflow.exceptions import MlflowException

    name = experiment_name(scenario)
    found = client.get_experiment_by_name(name)
    if found is None:
        root = _artifact_root(uri)
        folder = re.sub(r"[^\w\-.]", "_", scenario)
        try:
            return client.create_experiment(
                name,
                artifact_location=None if root is None else (root / folder).as_uri(),
                tags={
                    "mlflow.experimentKind": "custom_model_development",
                    "mlflow.note.content": HOW_TO_READ,
                },
            )
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found is None or found.lifecycle_stage != "active":
        # Restoring it would also bring back runs that were deleted on purpose.
        raise RuntimeError(f"experiment '{name}' is deleted; restore it in MLflow or choose another store")
    return str(found.experiment_id)
