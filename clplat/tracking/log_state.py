"""What the store already has of a run: ``tracking.json`` beside its result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from typing_extensions import TypedDict

from clplat.documents.checked import checked
from clplat.errors import UserError
from clplat.files import read_json, write_json
from clplat.locks import locked

__all__ = ["STATE_FILE", "LogState", "is_logged", "locked_state", "mtime_ms", "now_ms"]

STATE_FILE = "tracking.json"


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


def mtime_ms(path: Path) -> int:
    """When a file was written, in the unit of `now_ms`; now if there is no such file."""
    return int(path.stat().st_mtime * 1000) if path.exists() else now_ms()


@dataclass
class LogState:
    """The record that makes logging idempotent; written atomically after each step of it.

    Args:
        folder: of the run; it is not part of the file.
        identity: the config and the seed; a folder that is used for another experiment starts a new run.
        key: a tag of the run, written before the run is created, so that it is found again after a kill.
        clock: the time of each row, written before the row is sent (see `run_logging.send_rows`).
        grids: the steps whose retrieval grid is logged.
        inputs: whether the data sets are logged.
        models: row -> id of its LoggedModel, empty if it is about to be created.
        ready: the rows whose model has its files.
        drawn: whether the figures of a run that is over are logged.
    """

    folder: Path
    identity: str = ""
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

    def write(self) -> None:
        """Replace the file."""
        write_json(self.folder / STATE_FILE, {k: v for k, v in vars(self).items() if k != "folder"})


#: What the file holds: the fields above.
_FIELDS = {name: kind for name, kind in get_type_hints(LogState).items() if name != "folder"}
_Held: Any = TypedDict("_Held", _FIELDS, total=False)  # type: ignore[misc]


def is_logged(folder: Path) -> bool:
    """Whether all of a finished run is in the store, figures too."""
    if not (folder / STATE_FILE).exists():
        return False
    with locked_state(folder) as state:
        return state.finished and state.drawn


@contextmanager
def locked_state(folder: Path) -> Iterator[LogState]:
    """What was logged last from ``folder``, an empty state if nothing was, and nobody else logs it meanwhile.

    The process of a killed run may still be logging what it was sent.
    """
    path = folder.resolve() / STATE_FILE
    with locked(path.with_name(".tracking.lock")):
        held = checked(read_json(path), _Held, path, "record of what MLflow has") if path.exists() else {}
        try:
            state = LogState(path.parent, **held)
        except TypeError as error:
            raise UserError(f"{path} is not written by clplat: {error}") from None
        yield state
