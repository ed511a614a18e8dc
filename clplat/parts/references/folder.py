"""Pictures of a folder and lines of a file."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from clplat.data.decoding import picture_file
from clplat.data.items import Picture
from clplat.parts.references._base import Reference

__all__ = ["Folder"]

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


class Folder(Reference):
    """All pictures below a folder, and the lines of a text file: unpaired, as ZSCL takes them.

    Args:
        path: of the folder; pictures are named by their place in it and their content.
        captions: a file of one text a line; empty lines are passed over. By default ``captions.txt`` in the
            folder.
        seed: of the draws; by default the experiment's.

    Example:
        >>> Folder("pictures", seed=0).captions is None
        True
    """

    def __init__(self, path: str, captions: str | None = None, seed: int | None = None) -> None:
        self.path, self.captions, self.seed = path, captions, seed

    def pictures(self) -> Sequence[Picture]:
        return _pictures(Path(self.path))

    def texts(self) -> Sequence[str]:
        return _lines(Path(self.captions) if self.captions else Path(self.path, "captions.txt"))


@cache
def _pictures(folder: Path) -> tuple[Picture, ...]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise ValueError(f"there are no pictures below {folder}")
    names = [(f"reference/{path.relative_to(folder).as_posix()}", path) for path in files]
    return tuple(picture_file(name, path) for name, path in names)


@cache
def _lines(file: Path) -> tuple[str, ...]:
    if not file.is_file():
        raise ValueError(f"there is no file of texts {file}")
    lines = (line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    return tuple(dict.fromkeys(line for line in lines if line))
