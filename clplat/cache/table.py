"""A table of the feature store: the rows of one key, looked up by name."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clplat.cache.index import Block, Index
from clplat.cache.maintenance import TableInfo
from clplat.cache.segments import (
    LEFTOVER_SECONDS,
    LOCK,
    DamagedError,
    open_segment,
    segments_in,
    write_key,
    write_segment,
)
from clplat.errors import UserError
from clplat.files import remove_leftovers
from clplat.locks import locked

__all__ = ["Table"]

SEGMENT_BYTES = 32 * 2**20  # pending rows are written when they reach this size
_TOUCH_SECONDS = 60.0


class Table:
    """Rows of one shape and dtype by name; made by `clplat.cache.store.Store.table`.

    What `missing` did not list, `rows` returns until `missing` or `filling` is called again, whatever is
    deleted meanwhile. A name's first row stays: `put` leaves out names that are here.

    Args:
        key: everything that determines the values. Its entries ``dtype`` ("float32") and ``shape`` (of a
            row), where given, are checked.
        digest: of the key.
        folder: of the table's files; None: in memory only.
        wrote, note: called with the bytes of each segment that was written, and with what went wrong.
        writable: otherwise what the folder holds is read, and what is new stays in memory.
    """

    def __init__(
        self,
        key: Mapping[str, Any],
        digest: str,
        folder: Path | None,
        wrote: Callable[[int], None],
        note: Callable[[str], None],
        writable: bool = True,
    ) -> None:
        self.key, self.digest, self.folder, self._writable = key, digest, folder, writable
        self._wrote, self._note, self._lock = wrote, note, threading.RLock()
        self._index = Index(key, digest, folder, note)
        self._pending: list[str] = []  # rows in memory, to be written
        self._used, self._filling = 0.0, False
        if writable and folder is not None and segments_in(folder):
            with suppress(UserError):  # it is only for people
                write_key(folder, key)
        self._index.look()

    def __len__(self) -> int:
        return len(self._index.at)

    def __contains__(self, name: str) -> bool:
        return not self.missing([name])

    @property
    def foreign(self) -> bool:
        """Whether there are rows that this process did not write."""
        with self._lock:
            return any(block is not None and block.foreign for block in self._index.segments.values())

    def info(self) -> TableInfo:
        """What the rows known to this process take."""
        size = sum(block.rows[place].nbytes for block, place in self._index.at.values())
        return TableInfo(self.digest, dict(self.key), len(self), size, time.time())

    def missing(self, names: Sequence[str]) -> list[str]:
        """The distinct ones of ``names`` that are not here, in order of first use."""
        with self._lock:
            self._index.look()
            self._index.check(names)
            return [name for name in dict.fromkeys(names) if name not in self._index.at]

    def put(self, names: Sequence[str], rows: Tensor) -> None:
        """Add rows, copied. They are written to disk 32 MiB at a time, the rest by `flush`.

        Args:
            names: one per row; rows whose name is here, or came before, are left out.
            rows: (N, *shape), on any device, with or without gradients or inference mode.

        Raises:
            ValueError: another number of names than of rows, or another dtype or shape than the table's.
        """
        if not names:
            return
        if len(names) != len(rows):
            raise ValueError(f"{len(names)} names for {len(rows)} rows")
        if not self._index.fits(rows):
            wanted = f"{self._index.dtype} {self._index.shape}"
            raise ValueError(f"rows of {rows.dtype} {tuple(rows.shape[1:])} in a table of {wanted}")
        with self._lock, torch.inference_mode(False):
            new: dict[str, int] = {}
            for place, name in enumerate(names):
                if name not in self._index.at:
                    new.setdefault(name, place)
            if not new:
                return
            block = Block(rows.detach()[list(new.values())].cpu())
            self._index.enter(new, block)
            self._pending += new
            if len(self._pending) * block.rows[0].nbytes >= SEGMENT_BYTES:
                self.flush()

    def rows(self, names: Sequence[str]) -> Tensor:
        """The rows of ``names`` (N, *shape), which may repeat; a fresh tensor.

        Raises:
            KeyError: one is missing.
        """
        with self._lock, torch.inference_mode(False):
            try:
                found = [self._index.at[name] for name in names]
            except KeyError:
                self._index.look()  # another process may have written it
                self._index.check(names)
                found = [self._index.at[name] for name in names]
            if not found:
                return torch.empty((0, *(self._index.shape or ())), dtype=self._index.dtype)
            self._touch()
            blocks = {block for block, _ in found}
            if len(blocks) == 1:
                places = torch.tensor([place for _, place in found], device="cpu")
                return blocks.pop().rows.index_select(0, places)
            return torch.stack([block.rows[place] for block, place in found])

    def sample(self, n: int, among: Collection[str] | None = None) -> list[str]:
        """Up to ``n`` names of rows that this process found on disk, evenly spaced over them.

        Args:
            n: most names to return.
            among: only names in here.
        """
        with self._lock:
            self._index.check(self._index.at if among is None else among)
            names = self._index.at if among is None else [name for name in among if name in self._index.at]
            found = [name for name in names if self._index.at[name][0].foreign]
        n = min(n, len(found))
        return [found[place * len(found) // n] for place in range(n)]

    def flush(self) -> None:
        """Write the pending rows as a segment; where the disk does not take them, they stay in memory."""
        with self._lock:
            pending, self._pending = self._pending, []
            if not pending or self.folder is None or not self._writable:
                return
            try:
                remove_leftovers(self.folder, older_than=LEFTOVER_SECONDS)
                write_key(self.folder, self.key)
                path = write_segment(self.folder, self.digest, pending, self.rows(pending))
                block = Block(open_segment(path, self.digest)[1], path.name)
                size = path.stat().st_size
            except (UserError, OSError, DamagedError) as error:
                self._note(str(error))
                return
            self._index.segments[path.name] = block
            self._index.at.update((name, (block, place)) for place, name in enumerate(pending))
            self._wrote(size)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Hold the table's lock among processes: what is missing inside, no other process computes meanwhile.

        On entry the segments of others are read, on exit the rows are written. Re-entrant in one process.
        """
        if self._filling or self.folder is None or not self._writable:
            yield
            return
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(self.folder / LOCK))
            except OSError as error:  # without the lock rows may be computed twice, nothing worse
                self._note(f"cannot lock {self.folder}: {error.strerror}")
            stack.callback(self.flush)
            self._filling = True
            stack.callback(setattr, self, "_filling", False)
            with self._lock:
                self._index.look()
            yield

    def _touch(self) -> None:
        """Note the use of the table, as the time of modification of one of its segments."""
        now = time.time()
        there = self._index.segments
        if self._writable and self.folder is not None and there and now - self._used > _TOUCH_SECONDS:
            self._used = now
            with suppress(OSError):  # deleted by another process, or not ours to touch: readable all the same
                os.utime(self.folder / next(reversed(there)))
