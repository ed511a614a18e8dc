"""The folder of one table: ``key.json``, which anybody can read, immutable segments, and a lock."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from clplat.errors import UserError
from clplat.features.segments import segments_in
from clplat.files import read_json, write_json

__all__ = [
    "KEY",
    "LOCK",
    "delete",
    "digest_of",
    "lock_file",
    "read_key",
    "remove_folder",
    "remove_leftovers",
    "stats_in",
    "table_folders",
    "write_key",
]

KEY, LOCK = "key.json", ".lock"
_LEFTOVER_SECONDS = 3600.0


def table_folders(root: Path | None) -> list[Path]:
    """The folders of a store's tables; none in memory."""
    return sorted(root.glob("??/" + "?" * 64)) if root is not None else []


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


def write_key(folder: Path, key: Mapping[str, Any]) -> None:
    """Write the key where it is not there already.

    Raises:
        UserError: the disk is full or not writable.
    """
    if read_key(folder) != key:
        write_json(folder / KEY, key)


def stats_in(folder: Path) -> dict[Path, os.stat_result]:
    """Size and last use (as the time of modification) of a table's segments, oldest first."""
    found = {}
    for path in segments_in(folder):
        with suppress(OSError):  # deleted by another process meanwhile
            found[path] = path.stat()
    return found


def delete(path: Path) -> bool:
    """Delete a segment; false where we may not. A process that has it mapped goes on reading it."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def remove_folder(folder: Path) -> None:
    """Delete a table's folder that has no segments any more, unless a process is filling it."""
    if segments_in(folder):
        return
    remove_leftovers(folder)
    with suppress(OSError):  # in use, or another process is writing: it stays
        with lock_file(folder / LOCK, wait=False):
            for path in (folder / KEY, folder / LOCK):
                path.unlink(missing_ok=True)
            folder.rmdir()
        folder.parent.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of killed writers; younger ones may still be written."""
    cutoff = time.time() - _LEFTOVER_SECONDS
    for path in folder.glob(".*.clplat-tmp"):
        with suppress(OSError):  # gone meanwhile, or not ours
            if path.stat().st_mtime < cutoff:
                path.unlink()


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
