"""A table of the feature store: the rows of one key, looked up by name."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clplat.cache.blocks import Block, Blocks
from clplat.cache.cache import delete
from clplat.cache.folder import Folder
from clplat.cache.segments import segments_in
from clplat.errors import UserError

if TYPE_CHECKING:
    from clplat.cache.store import Store

__all__ = ["Table"]

SEGMENT_BYTES = 32 * 2**20  # pending rows are written when there are as many
MERGED_BYTES, MOST_SMALL = 256 * 2**20, 64  # more than 64 segments below half of that are merged
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
        store: whose limit and lock hold.
    """

    def __init__(self, key: Mapping[str, Any], digest: str, folder: Path | None, store: Store) -> None:
        self.key, self.digest = key, digest
        self.blocks = Blocks()
        self._store, self._lock = store, store.lock
        self._pending: Block | None = None
        self._folder = None if folder is None else Folder(folder, key, digest)
        self._depth = 0
        dtype, shape = getattr(torch, str(key.get("dtype")), None), key.get("shape")
        self._dtype = dtype if isinstance(dtype, torch.dtype) else None
        self._shape = tuple(shape) if isinstance(shape, list | tuple) else None
        self._look()

    def __contains__(self, name: str) -> bool:
        with self._lock:
            return name in self.blocks.index or (self._look() and name in self.blocks.index)

    @property
    def foreign(self) -> bool:
        """Whether there are rows that this process did not write."""
        with self._lock:
            return any(block.foreign for block in self.blocks)

    def missing(self, names: Sequence[str]) -> list[str]:
        """The distinct ones of ``names`` that are not here, in order of first use."""
        with self._lock:
            gone = [block for block in self.blocks if block.gone]
            if gone:
                self.blocks.forget(gone)
            absent = [name for name in dict.fromkeys(names) if name not in self.blocks.index]
            if absent and self._look(forget=True):
                absent = [name for name in dict.fromkeys(names) if name not in self.blocks.index]
            return absent

    def put(self, names: Sequence[str], rows: Tensor) -> None:
        """Add rows, copied. They are written to disk 32 MiB at a time, the rest by `flush`.

        Args:
            names: one a row; rows whose name is here, or came before, are left out.
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
                if name not in self.blocks.index:
                    new.setdefault(name, place)
            if not new:
                return
            rows = rows.detach()
            if len(new) < len(names):
                rows = rows[list(new.values())]
            if self._pending is None:
                empty = torch.empty((0, *rows.shape[1:]), dtype=rows.dtype, device="cpu")
                self._pending = self.blocks.add(Block([], empty))
            self.blocks.extend(self._pending, list(new), rows)
            if len(self._pending.names) * self._pending.rows[0].nbytes >= SEGMENT_BYTES:
                self._seal()

    def rows(self, names: Sequence[str]) -> Tensor:
        """The rows of ``names`` (N, *shape), which may repeat; a fresh tensor.

        Raises:
            KeyError: one is missing.
        """
        with self._lock, torch.inference_mode(False):
            if not names:
                return torch.empty((0, *(self._shape or ())), dtype=self._dtype)
            try:
                numbers = self.blocks.find(names)
            except KeyError:
                self._look()  # another process may have written it
                numbers = self.blocks.find(names)
            found, blocks = self.blocks.gather(numbers)
            for block in blocks:
                self._touch(block)
            return found

    def sample(self, n: int, among: Collection[str] | None = None) -> list[str]:
        """Up to ``n`` names of rows that this process found on disk, evenly spaced over them.

        Args:
            n: most names to return.
            among: only names in here, a set for speed.
        """
        with self._lock:
            found = self.blocks.foreign(among)
        n = min(n, len(found))
        return [found[place * len(found) // n] for place in range(n)]

    def flush(self) -> None:
        """Write the pending rows as a segment; where the disk does not take them, they stay in memory."""
        if self._folder is not None:  # in memory they can as well stay together
            with self._lock, torch.inference_mode(False):
                self._seal()

    def drop(self) -> None:
        """Forget all rows and delete them from the disk: for a table that was found wrong."""
        with self._lock:
            self._pending = None
            self.blocks.forget(self.blocks)
            self._store.clear(digest=self.digest)

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Hold the table's lock among processes: what is missing inside, no other process computes meanwhile.

        On entry the segments of others are read (and many small ones merged), on exit the rows are written.
        Re-entrant in one process.
        """
        with ExitStack() as stack:
            self._depth += 1
            stack.callback(self._leave)
            if self._depth == 1 and self._folder is not None:
                try:
                    stack.enter_context(self._folder.locked())
                except OSError as error:  # without the lock rows may be computed twice, nothing worse
                    self._store.note(f"cannot lock {self._folder.path}: {error.strerror}")
                stack.callback(self.flush)
                with self._lock, torch.inference_mode(False):
                    self._look(forget=True)
                    self._merge()
            yield

    def recent(self) -> set[Path]:
        """The segments that this process wrote or used within the last minute."""
        # Two minutes, because a use is noted only when the last note is a minute old.
        since = time.time() - 2 * _TOUCH_SECONDS
        return {block.path for block in self.blocks if block.path is not None and block.used > since}

    def _fits(self, rows: Tensor) -> bool:
        """Whether rows have the table's dtype and shape; the first ones decide what the key leaves open."""
        shape = tuple(rows.shape[1:])
        if self._dtype not in (None, rows.dtype) or self._shape not in (None, shape):
            return False
        self._dtype, self._shape = rows.dtype, shape
        return True

    def _leave(self) -> None:
        self._depth -= 1

    def _touch(self, block: Block) -> None:
        now = time.time()
        if block.path is not None and now - block.used > _TOUCH_SECONDS:
            block.used = now
            with suppress(OSError):  # deleted by another process, or not ours to touch: readable all the same
                os.utime(block.path)

    def _look(self, forget: bool = False) -> bool:
        """Take in what changed on disk since the last look, if anything did."""
        if self._folder is None or not self._folder.changed():
            return False
        if forget:
            there = set(segments_in(self._folder.path))
            self.blocks.forget([b for b in self.blocks if b.path is not None and b.path not in there])
        for path, names, rows in self._folder.opened():
            if self._fits(rows):
                self.blocks.add(Block(names, rows, path, foreign=True))
        return True

    def _seal(self) -> None:
        """Close the pending block: on disk, if that can be."""
        block, self._pending = self._pending, None
        if block is not None:
            block.rows = block.rows[: len(block.names)]
            if self._write(block):
                self._store.evict()
            else:
                block.rows = block.rows.clone()  # without the room for more

    def _write(self, block: Block) -> bool:
        """Move a block from memory to disk; false where that cannot be."""
        if self._folder is None:
            return False
        try:
            block.path, block.rows, size = self._folder.write(block.names, block.rows)
        except UserError as error:
            self._store.note(str(error))
            return False
        block.used = time.time()
        self._store.bytes_written += size
        return True

    def _merge(self) -> None:
        """Put many small segments together, so that few are mapped and gathered from; only under the lock.

        The new one is there before the old ones go: another process finds the rows in either, or in both.
        """
        groups = self.blocks.groups(MOST_SMALL, MERGED_BYTES)
        for group in groups:
            merged = self.blocks.joined(group)
            if not self._write(merged):
                return
            self.blocks.forget(group)
            self.blocks.add(merged)
            for block in group:
                if block.path is not None:
                    delete(block.path)
        if groups:
            self._store.evict()
