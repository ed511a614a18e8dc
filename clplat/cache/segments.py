"""The folder of one table: ``key.json`` in plain text, a lock, and segments, which are never changed.

A segment is rows with their names in one safetensors file, read by memory mapping. It holds the tensors
``rows`` and ``names``: the latter a JSON list as bytes, since a header is limited in length and parsed even
for the number of rows alone. The metadata holds the digest of the table's key and a checksum of the file; of
older releases, a sha256 of both tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from typing_extensions import TypedDict

from clplat.documents.checked import checked
from clplat.errors import UserError
from clplat.files import is_as_written, read_json, remove_leftovers, write_json
from clplat.locks import locked
from clplat.trees import save_tensors

__all__ = [
    "KEY", "LEFTOVER_SECONDS", "LOCK", "DamagedError", "check_segment", "count_rows", "digest_of",
    "open_segment", "read_key", "remove_folder", "segments_in", "stats_in", "table_folders", "write_key",
    "write_segment",
]  # fmt: skip

KEY, LOCK = "key.json", ".lock"
LEFTOVER_SECONDS = 3600.0  # younger files may still be written


class _Key(TypedDict, total=False):
    """What is read of a key; all of it determines the rows."""

    what: str
    tap: str
    backbone: str
    dtype: str
    shape: list[int]


class DamagedError(Exception):
    """A segment that cannot be used: why, without the name of the file."""


def table_folders(root: Path | None) -> list[Path]:
    """The folders of a store's tables; none in memory."""
    return sorted(root.glob("??/" + "?" * 64)) if root is not None else []


def digest_of(key: Mapping[str, Any]) -> str:
    """The sha256 of a key's canonical JSON."""
    text = json.dumps(dict(key), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_key(folder: Path) -> dict[str, Any] | None:
    """The key in a table's folder; None when it is missing or damaged."""
    path = folder / KEY
    try:
        key: dict[str, Any] = checked(read_json(path), _Key, path, "key of a table")
        digest_of(key)
    except (UserError, ValueError):  # NaN, which no key holds
        return None
    return key


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


def segments_in(folder: Path) -> dict[str, Path]:
    """The segments of a table's folder by name, oldest first; none where there is no such folder."""
    return {path.name: path for path in sorted(folder.glob("[0-9]*-*.safetensors"))}


def write_segment(folder: Path, digest: str, names: Sequence[str], rows: Tensor) -> Path:
    """Write a segment that sorts behind all others, atomically.

    Raises:
        UserError: the disk is full or not writable.

    Example:
        >>> import tempfile
        >>> path = write_segment(Path(tempfile.mkdtemp()), "d1", ["a", "b"], torch.eye(2))
        >>> open_segment(path, "d1")[0], count_rows(path)
        (['a', 'b'], 2)
    """
    last = max(segments_in(folder), default="0-")
    # Another process may take the same number now: the random part tells the two apart.
    path = folder / f"{int(last.partition('-')[0]) + 1:08d}-{secrets.token_hex(4)}.safetensors"
    encoded = np.frombuffer(json.dumps(list(names)).encode(), dtype=np.uint8).copy()
    tensors = {"names": torch.from_numpy(encoded), "rows": rows.contiguous()}
    save_tensors(path, tensors, {"digest": digest})
    return path


def open_segment(path: Path, digest: str, check: bool = False) -> tuple[list[str], Tensor]:
    """Names and mapped rows of a segment; the rows outlive the file.

    Args:
        path: of the segment.
        digest: of the key that it must belong to.
        check: read everything and compare the checksum, as `check_segment`.

    Raises:
        DamagedError: cut short, of another key, with other bytes than were written, or no segment at all.
        FileNotFoundError: it was deleted.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            encoded, rows = file.get_tensor("names"), file.get_tensor("rows")
        names = json.loads(encoded.numpy().tobytes())
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        if not path.exists():  # deleted before, or between reading the header and mapping the rest
            raise FileNotFoundError(path) from error
        raise DamagedError(f"is not readable ({' '.join(str(error).split())})") from error
    if metadata.get("digest") != digest:
        raise DamagedError("belongs to another key")
    if not isinstance(names, list) or not rows.dim() or len(names) != len(rows):
        raise DamagedError("has another number of names than of rows")
    if check:
        check_segment(path)
    return names, rows


def check_segment(path: Path) -> None:
    """Read a segment to its last byte.

    Raises:
        DamagedError: it cannot be read, or has other bytes than were written.
        FileNotFoundError: it was deleted.
    """
    try:
        with safe_open(path, framework="pt") as file:
            old = (file.metadata() or {}).get("sha256")
            intact = is_as_written(path)
            if old is not None:
                intact = old == _sha256(file.get_tensor("names"), file.get_tensor("rows"))
    except FileNotFoundError:
        raise
    except (OSError, SafetensorError, RuntimeError) as error:
        raise DamagedError(f"is not readable ({' '.join(str(error).split())})") from error
    if not intact:
        raise DamagedError("has other bytes than were written (wrong checksum)")


def count_rows(path: Path) -> int:
    """Rows of a segment by its header; 0 when it is damaged or gone."""
    try:
        with safe_open(path, framework="pt") as file:
            return int(file.get_slice("rows").get_shape()[0])
    except (OSError, SafetensorError, RuntimeError, IndexError):
        return 0


def _sha256(names: Tensor, rows: Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in (names, rows):
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
