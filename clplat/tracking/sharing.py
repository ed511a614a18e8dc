"""A store on this disk keeps nothing twice: its copy of a file of a run becomes another name of that file."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["release", "share"]


def share(location: str, name: str, file: Path) -> None:
    """Replace a copy by the file itself, which nobody writes to: files at rest are replaced, never changed.

    Args:
        location: of the artifacts, as MLflow says it; anything but a folder of this machine is left alone.
        name: of the copy, below that.
        file: of the run.
    """
    copy = _place(location, name)
    if copy is not None and copy.exists():
        spare = copy.with_suffix(".other")
        with suppress(OSError):  # another disk, or one without links
            os.link(file, spare)
            os.replace(spare, copy)


def release(location: str, name: str) -> None:
    """Take away a copy that may be another name of a file of a run: MLflow is about to write it again."""
    copy = _place(location, name)
    if copy is not None:
        copy.unlink(missing_ok=True)


def _place(location: str, name: str) -> Path | None:
    return Path(unquote(urlsplit(location).path), name) if location.startswith("file:") else None
