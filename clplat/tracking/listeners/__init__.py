"""Other places that results go to beside MLflow, each by its own library: ``--also csv,tensorboard,wandb``.

A writer gets the whole result whenever it grew, and writes what it does not have: a run that goes on, or is
written again, leaves nothing twice. One that fails costs a line: the run goes on, and it is tried again.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from clplat.errors import UserError, unknown_name
from clplat.events import Listener
from clplat.extras import named_extras

__all__ = ["WRITERS", "AlsoListener", "Writer", "writers"]

#: Name -> module and class.
WRITERS = {"csv": "CsvWriter", "tensorboard": "TensorBoardWriter", "wandb": "WandbWriter"}


#: Seconds: a failure that took longer is not risked again before the end of the run.
_SLOW = 2.0


class Writer(Protocol):
    """Writes one run somewhere.

    Attributes:
        name: of the place.
        folder: of the run.
    """

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path: ...

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
    """Passes events on, and the result to writers whenever it grew.

    A writer that fails is tried again with the next row, or at the end where failing took long.

    Args:
        shown: gets the events, and a line about the first failure.
        to: the writers.
        told: places of which it is known that writing fails; the runs of a sweep share it.
    """

    def __init__(self, shown: Listener, to: Sequence[Writer], told: set[str] | None = None) -> None:
        self.shown, self.to, self.told = shown, to, set() if told is None else told
        self._resting: set[str] = set()
        self.started, self.progress, self.cell = shown.started, shown.progress, shown.cell  # type: ignore[method-assign]
        self.note = shown.note  # type: ignore[method-assign]

    def row(self, result: dict[str, Any]) -> None:
        self.shown.row(result)
        for writer in self.to:
            if writer.name not in self._resting:
                self._try(writer, partial(writer.write, result))

    def finished(self, result: dict[str, Any]) -> None:
        for writer in self.to:
            self._try(writer, partial(writer.write, result))
            self._try(writer, writer.close)
        self.shown.finished(result)

    def failed(self, why: str) -> None:
        for writer in self.to:
            self._try(writer, writer.close)
        self.shown.failed(why)

    def _try(self, writer: Writer, act: Callable[[], None]) -> None:
        start = time.monotonic()
        try:
            act()
        except Exception as error:  # those of a disk, of a network and of other libraries have no common base
            if time.monotonic() - start > _SLOW:
                self._resting.add(writer.name)
            if writer.name not in self.told:
                self.told.add(writer.name)
                self.shown.note(_lost(writer, error))


def _lost(writer: Writer, error: Exception) -> str:
    """The line that says why a place does not have everything."""
    kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
    return (
        f"not written to {writer.name}: {kind}{' '.join(str(error).split())[:240]}; the results on disk are "
        f"whole, and `clplat track {writer.folder} --also {writer.name}` writes them later"
    )
