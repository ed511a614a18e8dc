"""What the tracker already has of a run: ``tracking.json`` beside its result."""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from clplat.errors import UserError
from clplat.files import write_json

__all__ = ["STATE_FILE", "LogState", "folder_lock", "mtime_ms", "now_ms"]

STATE_FILE = "tracking.json"


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


def mtime_ms(path: Path) -> int:
    """When a file was written, as `now_ms`; now if there is no such file."""
    return int(path.stat().st_mtime * 1000) if path.exists() else now_ms()


@dataclass
class LogState:
    """The record that makes logging idempotent; written atomically after each step of it.

    Args:
        identity: the config and the seed; a folder that is used for another experiment starts a new run.
        key: a tag of the run, noted down before the run is created: whoever is killed in between finds it.
        clock: the time given to each row, noted down before the row is sent (see `run_logging.send_rows`).
        grids: the steps whose retrieval grid is logged.
        inputs: whether the data sets are logged.
        models: row -> id of its LoggedModel, empty if it is about to be created.
        ready: the rows whose model has its files.
        drawn: whether the figures of its end are logged.
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
    def read(cls, folder: Path, identity: str) -> LogState:
        """The state in ``folder``, or an empty one when there is none for this experiment."""
        found = cls.latest(folder)
        return found if found.identity == identity else cls(identity)

    @classmethod
    def latest(cls, folder: Path) -> LogState:
        """Whatever was logged last from ``folder``; an empty state if nothing was."""
        path = folder / STATE_FILE
        if not path.exists():
            return cls("")
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is no state of clplat: {error}") from None

    def write(self, folder: Path) -> None:
        """Replace the file, atomically."""
        write_json(folder / STATE_FILE, asdict(self))

    @classmethod
    def new(cls, identity: str, uri: str, experiment_id: str) -> LogState:
        """A state for a run that is about to be created."""
        return cls(identity, uri, experiment_id, key=uuid.uuid4().hex)


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """One process logs a folder at a time: what was posted before a kill may still be on its way."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
