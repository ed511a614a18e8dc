"""Files at rest: whole or not there at all, because they are written to a temporary name and renamed."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from clplat.errors import UserError

__all__ = ["read_json", "remove_leftovers", "write_atomically", "write_json", "write_text"]

_TEMPORARY = ".clplat-tmp"


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary path beside ``path``, flush it to disk, then rename it over ``path``.

    Raises:
        UserError: the disk is full or not writable; what stood at ``path`` before still stands.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_TEMPORARY, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(f"could not write {path}: {reason}; what was there before is untouched") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, older_than: float = 0.0) -> None:
    """Delete the temporary files of writers that were killed.

    Args:
        folder: with all that is below it.
        older_than: seconds; where others may be writing, younger files may be theirs.
    """
    before = time.time() - older_than
    for path in folder.rglob(f".*{_TEMPORARY}"):
        with suppress(OSError):  # gone meanwhile, or not ours
            if not older_than or path.stat().st_mtime < before:
                path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: two spaces, sorted keys, a final newline, no NaN (`None` stands for it)."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; a broken or missing file is a `UserError` that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} is not readable JSON: {error}") from None
