"""The feature store: rows of pictures and texts on disk, shared by all processes of a machine.

A row is what a frozen part of a model makes of one picture or text, or its pixels. Rows of one kind are a
`Table`, found by a key that names everything the values depend on; a change of any of it is another table.
Files are ``<folder>/<digest[:2]>/<digest>/``: ``key.json`` and segments, each complete or not there at all.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clplat.cache.folder import delete, digest_of, remove_folder, stats_in, table_folders
from clplat.cache.maintenance import TableInfo, check, describe
from clplat.cache.quota import Quota
from clplat.cache.table import Table
from clplat.errors import UserError

__all__ = ["Store", "Table", "TableInfo", "parse_bytes"]

_GB = 10**9
_DAY = 86400.0


class Store:
    """Tables in a folder, bounded in size.

    When a segment was written and the store is over its limit, the tables used longest ago are deleted until
    it is at 90 % of it. Where the folder cannot be written, the store is in memory and ``problem`` says so.

    Args:
        folder: where the tables are; None: in memory only, nothing at rest.
        limit_bytes: most bytes on disk.

    Example:
        >>> import torch
        >>> store = Store(None)
        >>> table = store.table({"what": "image", "weights": "4f2a"})
        >>> table.put(["shoe", "bag"], torch.eye(2))
        >>> table.missing(["bag", "hat"]), table.rows(["bag"]).tolist()
        (['hat'], [[0.0, 1.0]])
    """

    def __init__(self, folder: Path | None, limit_bytes: int = 20 * _GB) -> None:
        self.quota = Quota(folder and folder.absolute(), limit_bytes)
        self._tables: dict[str, Table] = {}
        self._lock = threading.Lock()
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                tempfile.TemporaryFile(dir=folder).close()
            except OSError as error:
                self.quota.root = None
                self.quota.note(
                    f"cannot write to {folder}: {error.strerror}; features are kept in memory only"
                )

    @property
    def folder(self) -> Path | None:
        """Where the tables are; None: in memory only."""
        return self.quota.root

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
            store.quota.note(
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
                self._tables[digest] = Table(json.loads(json.dumps(dict(key))), digest, folder, self.quota)
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
        before = time.time() - older_than_days * _DAY if older_than_days is not None else float("inf")
        freed = 0
        for folder in table_folders(self.folder):
            stats = stats_in(folder)
            if max((stat.st_mtime for stat in stats.values()), default=0.0) < before:
                freed += sum(stat.st_size for path, stat in stats.items() if delete(path))
                remove_folder(folder)
        return freed


def parse_bytes(text: str, what: str) -> int:
    """A number of bytes in words.

    Args:
        text: such as "20GB", "1.5 TB", "500MB" or plain bytes; a kB is 1000 bytes.
        what: is given, for the error.

    Raises:
        UserError: anything else.

    Example:
        >>> parse_bytes("1.5GB", "the limit")
        1500000000
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *(?:([kMGT])?B)?", text.strip(), re.IGNORECASE)
    if not found:
        raise UserError(f"{what} takes a number of bytes such as 20GB or 500MB, not '{text}'")
    return int(float(found[1]) * 1000 ** " KMGT".index((found[2] or " ").upper()))
