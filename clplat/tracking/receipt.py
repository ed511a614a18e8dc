"""What the tracker already has of a run: ``tracking.json`` beside its result."""

from __future__ import annotations

import time
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["RECEIPT", "Receipt", "now"]

RECEIPT = "tracking.json"


def now() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)


@dataclass
class Receipt:
    """The record that makes logging idempotent; written atomically after each step of it.

    Args:
        identity: the config and the seed; a folder that is used for another experiment starts a new run.
        key: a tag of the run, noted down before the run is created: whoever is killed in between finds it.
        clock: the time given to each row, noted down before the row is sent (see `seeds.send_rows`).
        grids: the steps whose retrieval grid is logged.
    """

    identity: str
    uri: str = ""
    experiment_id: str = ""
    key: str = ""
    run_id: str | None = None
    rows_logged: int = 0
    clock: list[int] = field(default_factory=list)
    grids: list[int] = field(default_factory=list)
    status: str = "RUNNING"
    finished: bool = False

    @classmethod
    def read(cls, folder: Path, identity: str) -> Receipt:
        """The receipt in ``folder``, or an empty one when there is none for this experiment."""
        # clplat.files knows tensors and so loads torch: not for `clplat ui`, which imports this package too.
        from clplat.files import read_json

        path = folder / RECEIPT
        if path.exists():
            found = read_json(path)
            if found.get("identity") == identity:
                return cls(**found)
        return cls(identity)

    def write(self, folder: Path) -> None:
        """Replace the file."""
        from clplat.files import write_json

        write_json(folder / RECEIPT, asdict(self))

    @classmethod
    def new(cls, identity: str, uri: str, experiment_id: str) -> Receipt:
        """A receipt for a run that is about to be created."""
        return cls(identity, uri, experiment_id, key=uuid.uuid4().hex)
