"""A table of the feature store: the rows of one key, looked up by name."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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


@dataclass(eq=False)
class _Block:
    rows: Tensor  # in memory, or mapped from a segment
    segment: str = ""  # the name of its file
    foreign: bool = False  # this process did not write it


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
    """

    def __init__(
        self,
        key: Mapping[str, Any],
        digest: str,
        folder: Path | None,
        wrote: Callable[[int], None],
        note: Callable[[str], None],
    ) -> None:
        self.key, self.digest, self.folder = key, digest, folder
        self._wrote, self._note, self._lock = wrote, note, threading.RLock()
        self._index: dict[str, tuple[_Block, int]] = {}
        self._segments: dict[str, _Block | None] = {}  # opened ones; None: damaged, or with other rows
        self._pending: list[str] = []  # rows in memory, to be written
        self._used, self._filling = 0.0, False
        dtype, shape = getattr(torch, str(key.get("dtype")), None), key.get("shape")
        self._dtype = dtype if isinstance(dtype, torch.dtype) else None
        self._shape = tuple(shape) if isinstance(shape, list | tuple) else None
        if folder is not None and segments_in(folder):
            with suppress(UserError):  # a store that cannot be written is read all the same
                write_key(folder, key)
        self._look()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, name: str) -> bool:
        return not self.missing([name])

    @property
    def foreign(self) -> bool:
        """Whether there are rows that this process did not write."""
        with self._lock:
            return any(block is not None and block.foreign for block in self._segments.values())

    def info(self) -> TableInfo:
        """What the rows known to this process take."""
        size = sum(block.rows[place].nbytes for block, place in self._index.values())
        return TableInfo(self.digest, dict(self.key), len(self), size, time.time())

    def missing(self, names: Sequence[str]) -> list[str]:
        """The distinct ones of ``names`` that are not here, in order of first use."""
        with self._lock:
            self._look()
            return [name for name in dict.fromkeys(names) if name not in self._index]

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
        if not self._fits(rows):
            wanted = f"{self._dtype} {self._shape}"
            raise ValueError(f"rows of {rows.dtype} {tuple(rows.shape[1:])} in a table of {wanted}")
        with self._lock, torch.inference_mode(False):
            new: dict[str, int] = {}
            for place, name in enumerate(names):
                if name not in self._index:
                    new.setdefault(name, place)
            if not new:
                return
            block = _Block(rows.detach()[list(new.values())].cpu())
            self._enter(new, block)
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
                found = [self._index[name] for name in names]
            except KeyError:
                self._look()  # another process may have written it
                found = [self._index[name] for name in names]
            if not found:
                return torch.empty((0, *(self._shape or ())), dtype=self._dtype)
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
            names = self._index if among is None else [name for name in among if name in self._index]
            found = [name for name in names if self._index[name][0].foreign]
        n = min(n, len(found))
        return [found[place * len(found) // n] for place in range(n)]

    def flush(self) -> None:
        """Write the pending rows as a segment; where the disk does not take them, they stay in memory."""
        with self._lock:
            pending, self._pending = self._pending, []
            if not pending or self.folder is None:
                return
            try:
                remove_leftovers(self.folder, older_than=LEFTOVER_SECONDS)
                write_key(self.folder, self.key)
                path = write_segment(self.folder, self.digest, pending, self.rows(pending))
                block = _Block(open_segment(path, self.digest)[1], path.name)
                size = path.stat().st_size
            except (UserError, OSError, DamagedError) as error:
                self._note(str(error))
                return
            self._segments[path.name] = block
            self._index.update((name, (block, place)) for place, name in enumerate(pending))
            self._wrote(size)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Hold the table's lock among processes: what is missing inside, no other process computes meanwhile.

        On entry the segments of others are read, on exit the rows are written. Re-entrant in one process.
        """
        if self._filling or self.folder is None:
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
                self._look()
            yield

    def _fits(self, rows: Tensor) -> bool:
        """Whether rows have the table's dtype and shape; the first ones decide what the key leaves open."""
        shape = tuple(rows.shape[1:])
        if self._dtype not in (None, rows.dtype) or self._shape not in (None, shape):
            return False
        self._dtype, self._shape = rows.dtype, shape
        return True

    def _enter(self, names: Iterable[str], block: _Block) -> None:
        for place, name in enumerate(names):
            self._index.setdefault(name, (block, place))

    def _touch(self) -> None:
        """Note the use of the table, as the time of modification of one of its segments."""
        now = time.time()
        if self.folder is not None and self._segments and now - self._used > _TOUCH_SECONDS:
            self._used = now
            with suppress(OSError):  # deleted by another process, or not ours to touch: readable all the same
                os.utime(self.folder / next(reversed(self._segments)))

    def _look(self) -> None:
        """Take in what came and went on disk since the last look."""
        there = segments_in(self.folder) if self.folder is not None else {}
        gone = self._segments.keys() - there.keys()
        if gone:
            self._index = {name: at for name, at in self._index.items() if at[0].segment not in gone}
            self._segments = {name: block for name, block in self._segments.items() if name not in gone}
        for name, path in there.items():
            if name not in self._segments:
                self._segments[name] = self._opened(path)

    def _opened(self, path: Path) -> _Block | None:
        try:
            names, rows = open_segment(path, self.digest)
        except (FileNotFoundError, DamagedError):
            return None  # its rows are computed again; `Store.verify` reports damage
        if not self._fits(rows):
            return None
        block = _Block(rows, path.name, foreign=True)
        self._enter(names, block)
        return block
