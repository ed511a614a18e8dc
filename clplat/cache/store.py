"""The feature store: rows of pictures and texts on disk, shared by all processes of a machine.

A row is what a frozen part of a model makes of one picture or text, or its pixels. Rows of one kind are a
`Table`, found by a key that names everything the values depend on; a change of any of it is another table.
Files are ``<folder>/<digest[:2]>/<digest>/``: ``key.json`` and segments, each complete or not there at all.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from clplat.cache.maintenance import TableInfo, check, describe, parse_bytes
from clplat.cache.segments import digest_of, remove_folder, stats_in, table_folders
from clplat.cache.table import Table

__all__ = ["Store", "Table", "TableInfo", "parse_bytes"]

_DAY = 86400.0


class Store:
    """Tables in a folder, bounded in size.

    When a segment was written and the store is over its limit, the tables used longest ago are deleted until
    it is at 90 % of it. A folder that cannot be written is read; where none can be made, the store is in
    memory. ``problem`` says so.

    Args:
        folder: where the tables are; None: in memory only, nothing at rest.
        limit_bytes: most bytes of segments on disk.

    Attributes:
        folder: as given; None where there is none.
        writable: whether what is new is kept there.
        bytes_written: by this process.
        problem: the first thing that went wrong, for the run to report once.

    Example:
        >>> import torch
        >>> store = Store(None)
        >>> table = store.table({"what": "image", "weights": "4f2a"})
        >>> table.put(["shoe", "bag"], torch.eye(2))
        >>> table.missing(["bag", "hat"]), table.rows(["bag"]).tolist()
        (['hat'], [[0.0, 1.0]])
    """

    def __init__(self, folder: Path | None, limit_bytes: int = 20 * 10**9) -> None:
        self.folder, self.limit_bytes = folder and folder.absolute(), limit_bytes
        self.bytes_written, self.problem = 0, ""
        self._tables: dict[str, Table] = {}
        self._lock = threading.Lock()
        self.writable = True
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                self.folder = None
                self.note(f"cannot write to {folder}: {error.strerror}; features are kept in memory only")
            else:
                self.writable = os.access(folder, os.W_OK)
                if not self.writable:
                    self.note(f"cannot write to {folder}; new features are kept in memory only")

    @classmethod
    def default(cls) -> Store:
        """The store of this user, in ``$CLPLAT_CACHE`` or ``~/.cache/clplat``.

        It takes up to ``$CLPLAT_CACHE_LIMIT`` (such as 500MB), 20GB where that is not set; with 0 it is in
        memory only.

        Raises:
            UserError: the limit is no number of bytes.
        """
        limit = parse_bytes(os.environ.get("CLPLAT_CACHE_LIMIT") or "20GB", "CLPLAT_CACHE_LIMIT")
        folder = os.environ.get("CLPLAT_CACHE") or os.path.expanduser("~/.cache/clplat")
        if folder.startswith("~"):  # a user without a home
            store = cls(None, limit)
            store.note(
                "there is no home folder; features are kept in memory only (CLPLAT_CACHE names a folder)"
            )
            return store
        return cls(Path(folder) if limit else None, limit)

    def table(self, key: Mapping[str, Any]) -> Table:
        """The table of a key, the same object for the same key.

        Args:
            key: JSON values under text keys: everything that determines the rows.

        Raises:
            TypeError, ValueError: the key is not JSON, or holds NaN.
        """
        digest = digest_of(key)
        with self._lock:
            if digest not in self._tables:
                folder = self.folder and self.folder / digest[:2] / digest
                plain = json.loads(json.dumps(dict(key)))
                self._tables[digest] = Table(plain, digest, folder, self.wrote, self.note, self.writable)
            return self._tables[digest]

    def flush(self) -> None:
        """Write the pending rows of all tables."""
        for table in list(self._tables.values()):
            table.flush()

    def info(self) -> list[TableInfo]:
        """What there is on disk, or in memory where nothing is at rest; the table used last comes first."""
        if self.folder is None:
            return [table.info() for table in self._tables.values() if len(table)]
        found = [info for folder in table_folders(self.folder) if (info := describe(folder))]
        return sorted(found, key=lambda table: (-table.last_used, table.digest))

    def verify(self) -> list[str]:
        """Read every segment and compare checksum, rows, shape and key; the problems, one line each."""
        return [problem for folder in table_folders(self.folder) for problem in check(folder)]

    def clear(self, older_than_days: float | None = None) -> int:
        """Delete all tables, or only those that were not used for a number of days.

        Returns:
            The bytes freed.
        """
        before = time.time() - older_than_days * _DAY if older_than_days is not None else math.inf
        freed = sum(self._deleting(before))
        for folder in table_folders(self.folder):  # those in which nothing was ever written
            remove_folder(folder)
        return freed

    def note(self, problem: str) -> None:
        """Keep the first thing that went wrong."""
        self.problem = self.problem or problem

    def wrote(self, size: int) -> None:
        """A table wrote a segment of ``size`` bytes: make room where the store is over its limit now."""
        self.bytes_written += size
        folders = table_folders(self.folder)
        total = sum(stat.st_size for folder in folders for stat in stats_in(folder).values())
        if total > self.limit_bytes:
            with closing(self._deleting()) as freed:
                while total > 0.9 * self.limit_bytes and (gone := next(freed, None)) is not None:
                    total -= gone

    def _deleting(self, before: float = math.inf) -> Generator[int, None, None]:
        """Delete tables last used ``before`` then, the oldest use first; give the bytes of each segment gone.

        Whoever stops asking leaves the rest: the last table may have lost its oldest segments only.
        """
        tables = {folder: stats for folder in table_folders(self.folder) if (stats := stats_in(folder))}
        used = {folder: max(stat.st_mtime for stat in stats.values()) for folder, stats in tables.items()}
        for folder in sorted(used, key=lambda folder: (used[folder], folder)):
            if used[folder] >= before:
                return
            try:
                for path, stat in tables[folder].items():
                    with suppress(OSError):  # not ours to delete
                        path.unlink(missing_ok=True)  # a process that has it mapped goes on reading it
                        yield stat.st_size
            finally:
                remove_folder(folder)
