"""Other places that results go to beside MLflow, each by its own library: ``--also csv,tensorboard,wandb``.

A writer gets the whole result whenever it grew, and writes what it does not have: a run that goes on, or is
written again, leaves nothing twice.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from clplat.errors import unknown_name
from clplat.events import Listener
from clplat.extras import named_extras

__all__ = ["WRITERS", "AlsoListener", "Writer", "writers"]

#: Name -> module and class.
WRITERS = {"csv": "CsvWriter", "tensorboard": "TensorBoardWriter", "wandb": "WandbWriter"}


class Writer(Protocol):
    """Writes one run somewhere."""

    def write(self, result: dict[str, Any]) -> None:
        """Write what is new in a result, which may be complete."""

    def close(self) -> None:
        """Nothing more comes from this process."""


def writers(names: str | None, folder: Path) -> list[Writer]:
    """The writers of a run's folder.

    Args:
        names: of `WRITERS`, by comma.
        folder: of the run.

    Raises:
        UserError: an unknown name; a library that is not installed, with its extra.
    """
    made = []
    for name in filter(None, map(str.strip, (names or "").split(","))):
        if name not in WRITERS:
            raise unknown_name("writer", name, WRITERS)
        with named_extras(f"--also {name}"):
            module = importlib.import_module(f"{__name__}.{name}")
            make: Callable[[Path], Writer] = getattr(module, WRITERS[name])
            made.append(make(folder))
    return made


class AlsoListener(Listener):
    """Passes events on, and the result to writers whenever it grew."""

    def __init__(self, shown: Listener, to: Sequence[Writer]) -> None:
        self.shown, self.to = shown, to
        self.started, self.progress, self.cell = shown.started, shown.progress, shown.cell  # type: ignore[method-assign]
        self.note = shown.note  # type: ignore[method-assign]

    def row(self, result: dict[str, Any]) -> None:
        self.shown.row(result)
        for writer in self.to:
            writer.write(result)

    def finished(self, result: dict[str, Any]) -> None:
        for writer in self.to:
            writer.write(result)
            writer.close()
        self.shown.finished(result)

    def failed(self, why: str) -> None:
        for writer in self.to:
            writer.close()
        self.shown.failed(why)
