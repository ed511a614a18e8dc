"""Where runs are tracked: one absolute store beside the runs, one experiment per scenario.

MLflow takes seconds to import, so every function here imports it when called.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from clplat.addresses import masked, without_password
from clplat.errors import UserError
from clplat.tracking.descriptions import HOW_TO_READ

if TYPE_CHECKING:
    from mlflow.entities import Experiment
    from mlflow.tracking import MlflowClient

__all__ = [
    "ARTIFACTS", "DATABASE", "QUIET", "answering", "open_client", "open_existing", "open_experiment",
    "tracked", "tracking_uri",
]  # fmt: skip

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
_PREFIX = "clplat/"  # of the experiments' names, which end in that of a scenario
#: No telemetry: for MLflow here and for its server.
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
# Few messages and short timeouts, for the client.
_CLIENT = QUIET | {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def tracking_uri(root: Path) -> str:
    """The store that belongs to a folder of runs: ``MLFLOW_TRACKING_URI`` if set, else a database inside it.

    MLflow's own default follows the current directory, so that the same command in another folder writes
    elsewhere; this one does not.

    Example:
        >>> tracking_uri(Path("/data/runs"))  # doctest: +SKIP
        'sqlite:////data/runs/mlflow.db'
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / DATABASE}"


def _database(uri: str) -> Path | None:
    """The file of a store in sqlite; None where a server keeps it."""
    return Path(uri.removeprefix("sqlite:///")).resolve() if uri.startswith("sqlite:///") else None


def _quiet() -> None:
    """What the user has set stays."""
    for name, value in _CLIENT.items():
        os.environ.setdefault(name, value)
    for name in ("alembic", "mlflow.store.db.utils"):  # a page of migration messages for every new database
        logging.getLogger(name).setLevel(logging.WARNING)


def open_client(uri: str) -> MlflowClient:
    """A client of one store. It touches no global MLflow state, so a user's own tracking is undisturbed.

    Raises:
        UserError: its database cannot be opened, or is none.
    """
    if file := _database(uri):
        file.parent.mkdir(parents=True, exist_ok=True)
        _check_database(file)
    _quiet()
    import mlflow.store.db.utils
    from mlflow.tracking import MlflowClient

    _quiet()  # importing MLflow configures its loggers again
    mlflow.store.db.utils.MAX_RETRY_COUNT = 3  # of ten, which take minutes
    return MlflowClient(tracking_uri=uri)


def _check_database(file: Path) -> None:
    """What MLflow would try again for minutes."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rwc", uri=True, timeout=5)) as base:
            base.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise UserError(
            f"MLflow's database {file} cannot be used: {error}; move it away, and `clplat track <folder>` "
            "logs what is on disk anew"
        ) from error


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """What a store does not do, in one line: MLflow's errors, SQLAlchemy's, requests' have no common base.

    Raises:
        UserError: it does not answer during the block, or not as a store does.
    """
    try:
        yield
    except (UserError, OSError):
        raise
    except Exception as error:
        said = masked(f"{type(error).__name__}: {' '.join(str(error).split())}", uri)[:200]
        raise UserError(f"MLflow at {without_password(uri)} does not answer: {said}") from error


def open_existing(uri: str) -> MlflowClient:
    """A client of a store to read from, which is not made.

    Raises:
        UserError: there is none.
    """
    file = _database(uri)
    if file is not None and not file.exists():
        start = "start one with `clplat run`, or choose another folder with --out"
        raise UserError(f"no runs are tracked in {file.parent}; {start}")
    return open_client(uri)


@contextmanager
def tracked(root: Path) -> Iterator[tuple[MlflowClient, Mapping[str, Experiment]]]:
    """A client to read from and the experiment of every scenario, the latest first.

    Raises:
        UserError: nothing is tracked in this folder, or the store does not answer during the block.
    """
    uri = tracking_uri(root)
    with answering(uri):
        client = open_existing(uri)
        found = client.search_experiments(
            filter_string=f"name LIKE '{_PREFIX}%'", order_by=["last_update_time DESC"], max_results=1000
        )
        yield client, {item.name.removeprefix(_PREFIX): item for item in found}


def open_experiment(client: MlflowClient, uri: str, scenario: str) -> str:
    """The id of the scenario's experiment, created if need be; several processes may ask at once."""
    from mlflow.exceptions import MlflowException

    name, place = _PREFIX + scenario, None
    if file := _database(uri):  # a server decides for itself: it serves the artifacts
        place = (file.parent / ARTIFACTS / re.sub(r"[^\w\-.]", "_", scenario)).as_uri()
    found = client.get_experiment_by_name(name)
    if found is None:
        tags = {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": HOW_TO_READ}
        try:
            return client.create_experiment(name, artifact_location=place, tags=tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)  # another process was faster
    if found is None or found.lifecycle_stage != "active":
        # Restoring it would also bring back runs that were deleted on purpose.
        raise RuntimeError(f"experiment '{name}' is deleted; restore it in MLflow or choose another store")
    return str(found.experiment_id)
