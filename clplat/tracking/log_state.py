"""What the store already has of a run: ``tracking.json`` beside its result."""

from __future__ import annotations

import time
import uuid
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clplat.errors import UserError
from clplat.files import read_json, write_json
from clplat.locks import locked

__all__ = ["STATE_FILE", "LogState", "folder_lock", "mtime_ms", "now_ms"]

STATE_FILE = "tracking.json"


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


def mtime_ms(path: Path) -> int:
    """When a file was written, in the unit of `now_ms`; now if there is no such file."""
    return int(path.stat().st_mtime * 1000) if path.exists() else now_ms()


def folder_lock(folder: Path) -> AbstractContextManager[None]:
    """One process at a time logs a folder: that of a killed run may still be logging what it was sent."""
    return locked(folder / ".tracking.lock")


@dataclass
class LogState:
    """The record that makes logging idempotent; written atomically after each step of it.

    Args:
        identity: the config and the seed; a folder that is used for another experiment starts a new run.
        key: a tag of the run, written before the run is created, so that it is found again after a kill.
        clock: the time of each row, written before the row is sent (see `run_logging.send_rows`).
        grids: the steps whose retrieval grid is logged.
        inputs: whether the data sets are logged.
        models: row -> id of its LoggedModel, empty if it is about to be created.
        ready: the rows whose model has its files.
        drawn: whether the figures of a run that is over are logged.
    """

    identity: str
    uri: str = ""
    experiment_id: str = ""
    key: str = ""
    run_id: str | None = None
    rows_logged: int = 0
    clock: list[int] = field(default_factory=list)
    grids: list[int] = field(default_factory=list)
    inputs: bool = False
    models: dict[str, str] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    status: str = "RUNNING"
    finished: bool = False
    drawn: bool = False

    @classmethod
    def new(cls, identity: str, uri: str, experiment_id: str) -> LogState:
        """The state of a run that is about to be created."""
        return cls(identity, uri, experiment_id, key=uuid.uuid4().hex)

    @classmethod
    def read(cls, folder: Path) -> LogState:
        """What was logged last from ``folder``; an empty state if nothing was."""
        path = folder / STATE_FILE
        try:
            return cls(**read_json(path)) if path.exists() else cls("")
        except TypeError as error:
            raise UserError(f"{path} is not written by clplat: {error}") from None

    def write(self, folder: Path) -> None:
        """Replace the file."""
        write_json(folder / STATE_FILE, asdict(self))
