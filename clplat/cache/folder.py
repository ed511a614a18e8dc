"""The folder of one table: ``key.json`` in plain text, immutable segments, and a lock."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clplat.cache.segments import segments_in
from clplat.errors import UserError
from clplat.files import read_json, remove_leftovers, write_json
from clplat.locks import locked

__all__ = [
    "KEY",
    "LEFTOVER_SECONDS",
    "LOCK",
    "digest_of",
    "read_key",
    "remove_folder",
    "stats_in",
    "table_folders",
    "write_key",
]

KEY, LOCK = "key.json", ".lock"
LEFTOVER_SECONDS = 3600.0  # younger files may still be written


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
    for path in segments_in(folder).values():
        with suppress(OSError):  # deleted by another process meanwhile
            found[path] = path.stat()
    return found


def remove_folder(folder: Path) -> None:
    """Delete a table's folder that has no segments any more, unless a process is filling it."""
    if segments_in(folder):
        return
    remove_leftovers(folder, older_than=LEFTOVER_SECONDS)
    with suppress(OSError):  # in use, or another process is writing: it stays
        with locked(folder / LOCK, wait=False):
            for path in (folder / KEY, folder / LOCK):
                path.unlink(missing_ok=True)
            folder.rmdir()
        folder.parent.rmdir()
