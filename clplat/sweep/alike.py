"""What runs of a sweep hold alike is kept once: all begin with one model, and many learn a domain alike."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from clplat.files import keep_once

__all__ = ["keep_alike_once"]

#: Folders of runs, and of the store beside them, whose files are large and never written to again. Not the
#: measured values: when those were written is when a row was complete.
_KINDS = {"versions", "galleries", "grids", "lists", "images"}
_SMALLEST = 4096  # bytes: less takes no less place


def keep_alike_once(out: Path) -> None:
    """Make files that hold the same bytes other names of one of them.

    Args:
        out: folder of a sweep that is complete.
    """
    sizes: dict[int, list[Path]] = {}
    for path in _files(out):
        sizes.setdefault(path.stat().st_size, []).append(path)
    for paths in (paths for size, paths in sizes.items() if size >= _SMALLEST and len(paths) > 1):
        first: dict[str, Path] = {}
        for path in paths:
            digest = hashlib.blake2b(path.read_bytes()).hexdigest()
            keep_once(path, first.setdefault(digest, path))


def _files(out: Path) -> Iterator[Path]:
    for path in sorted(out.rglob("*.*")):
        if _KINDS.intersection(path.relative_to(out).parts[:-1]) and path.is_file():
            yield path
