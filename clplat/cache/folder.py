"""The folder of one table: ``key.json``, which anybody can read, immutable segments, and a lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from torch import Tensor

from clplat.cache.segments import DamagedError, open_segment, segments_in, write_segment
from clplat.errors import UserError
from clplat.files import read_json, remove_leftovers, write_json

__all__ = ["KEY", "LEFTOVER_SECONDS", "LOCK", "Folder", "digest_of", "lock_file", "read_key"]

KEY, LOCK = "key.json", ".lock"
LEFTOVER_SECONDS = 3600.0  # younger files may still be written
_SETTLED_NS = 10**9  # a folder that changed a moment ago may change again within one tick of its clock


class Folder:
    """What a table has on disk, and which of it was opened already.

    Args:
        path: the folder; made by the first `write` or `lock`.
        key: of the table.
        digest: of the key.
    """

    def __init__(self, path: Path, key: Mapping[str, Any], digest: str) -> None:
        self.path, self.key, self.digest = path, key, digest
        self._seen: set[str] = set()  # segments that were opened, or found damaged
        self._stamp: int | None = None
        if segments_in(path):
            with suppress(UserError):  # a store that cannot be written is read all the same
                self._write_key()

    def changed(self) -> bool:
        """Whether files may have come or gone since the last call."""
        try:
            stamp = self.path.stat().st_mtime_ns
        except OSError:
            stamp = 0
        same = stamp == self._stamp
        self._stamp = stamp if time.time_ns() - stamp > _SETTLED_NS else None
        return not same

    def opened(self) -> Iterator[tuple[Path, list[str], Tensor]]:
        """Open the segments that are new since the last call: path, names and rows of each that is whole."""
        for _ in range(3):  # what vanishes while we open it was merged, say, into a new one
            vanished = False
            for path in segments_in(self.path):
                if path.name in self._seen:
                    continue
                try:
                    names, rows = open_segment(path, self.digest)
                except FileNotFoundError:
                    vanished = True
                except DamagedError:  # its rows are computed again; `Store.verify` tells of it
                    self._seen.add(path.name)
                else:
                    self._seen.add(path.name)
                    yield path, names, rows
            if not vanished:
                return

    def write(self, names: Sequence[str], rows: Tensor) -> tuple[Path, Tensor, int]:
        """Write a segment; returns its path, the rows, now mapped from it, and its size.

        Raises:
            UserError: the disk is full or not writable.
        """
        remove_leftovers(self.path, older_than=LEFTOVER_SECONDS)
        self._write_key()
        path = write_segment(self.path, self.digest, names, rows)
        self._seen.add(path.name)
        try:
            return path, open_segment(path, self.digest)[1], path.stat().st_size
        except (OSError, DamagedError) as error:
            raise UserError(f"could not read back {path}: {error}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for the exclusive lock among processes, and hold it; the kernel frees that of a dead process.

        Raises:
            OSError: the disk is not writable, or knows no locks.
        """
        with lock_file(self.path / LOCK) as file:
            try:
                yield
            finally:
                fcntl.flock(file, fcntl.LOCK_UN)  # a child forked meanwhile shares it: closing would not do

    def _write_key(self) -> None:
        if read_key(self.path) != self.key:
            write_json(self.path / KEY, self.key)


def lock_file(path: Path, wait: bool = True) -> IO[str]:
    """Take the exclusive lock on a file.

    Raises:
        BlockingIOError: another process holds it, and ``wait`` is false.
        OSError: the file cannot be made, or the disk knows no locks.
    """
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            with suppress(FileNotFoundError):  # deleted while we waited: a lock on it would keep nobody out
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


def digest_of(key: Mapping[str, Any]) -> str:
    """The sha256 of a key's canonical JSON."""
    text = json.dumps(dict(key), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_key(folder: Path) -> dict[str, Any] | None:
    """The key in a table's folder; None when it is missing or damaged."""
    try:
        key = read_json(folder / KEY)
    except UserError:
        return None
    return key if isinstance(key, dict) else None
