"""Pictures below a folder, by the names that a benchmark gives them; none is decoded before it is needed."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from clplat.data.decoding import open_picture
from clplat.data.items import Picture
from clplat.errors import UserError, nearest

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["PictureFiles"]

_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class PictureFiles:
    """Finds the files of named pictures: folders are listed once, files are neither opened nor asked for.

    A name may come without its ending, with another one, in other letters' case, or with its accents
    written in the other way of Unicode (NFC or NFD), as copies of benchmarks do. Links are followed. A
    picture that is not there, or a link to nothing, is made as well, and is remembered in `absent`:
    `clplat.data.missing` says what becomes of it.

    Args:
        root: the folder that names are relative to.
        source: what the pictures are of, such as ``"fashioniq"``; the beginning of their keys.
        flat: names are those of files alone, which lie at any depth below the root.

    Raises:
        UserError: there is no such folder.

    Example:
        >>> from tempfile import mkdtemp
        >>> from PIL import Image
        >>> root = mkdtemp()
        >>> Image.new("RGB", (8, 8)).save(root + "/B001.PNG")
        >>> files = PictureFiles(root, "fashioniq")
        >>> files.picture("B001").load().size, files.picture("B002").key, files.absent
        ((8, 8), 'fashioniq/B002', ('fashioniq/B002',))
    """

    def __init__(self, root: str | Path, source: str, flat: bool = False) -> None:
        self.root, self.source, self.flat = Path(root).expanduser(), source, flat
        if not self.root.is_dir():
            above = self.root.parent
            siblings = [entry.name for entry in above.iterdir()] if above.is_dir() else []
            raise UserError(f"{source}: no such folder: {self.root}{nearest(self.root.name, siblings)}")
        self._listed: dict[str, tuple[str, dict[str, str]]] = {}
        self._made: dict[str, Picture] = {}
        self._absent: dict[str, None] = {}

    @property
    def absent(self) -> tuple[str, ...]:
        """Keys of the pictures that were named and are not there, in the order of their names."""
        return tuple(self._absent)

    def picture(self, name: str, caption: str | None = None) -> Picture:
        """The picture of this name; equal names give the same object.

        Args:
            name: path below the root with ``/``, with or without the file's ending. The key is made of it as
                it stands, so that copies of a benchmark with other endings are the same stream.
            caption: what it shows; the first one that is given stays.
        """
        made = self._made.get(name)
        if made is None:
            made = self._made[name] = self.unkept(name, caption)
        return made

    def unkept(self, name: str, caption: str | None = None) -> Picture:
        """The same in a new object, which nothing here holds: a million of them take a million's memory."""
        place, found = self._find(name)
        key = f"{self.source}/{name}"
        if found is None:
            self._absent[key] = None
        path = place + (found or name.rpartition("/")[2])
        load = partial(_open, path)
        return Picture(key, load, caption, stamp=partial(_stamp, path), sized=load)

    def look(self, names: Iterable[str]) -> None:
        """Remember in `absent` which of these are not there; no picture is made."""
        for name in names:
            if self._find(name)[1] is None:
                self._absent[f"{self.source}/{name}"] = None

    def pictures(self, names: Sequence[str]) -> tuple[Picture, ...]:
        """The pictures of these names, in their order."""
        return tuple(map(self.picture, names))

    def _find(self, name: str) -> tuple[str, str | None]:
        """The folder with a slash, and the path below it as on disk: as named, spelt otherwise, or None."""
        folder, _, bare = name.rpartition("/")
        if folder not in self._listed:
            place = _existing(self.root, folder)
            self._listed[folder] = os.path.join(place, ""), _listing(place, self.flat)
        place, listed = self._listed[folder]
        found = listed.get(bare) or listed.get(_plain(bare))
        if found is None:
            stem, ending = os.path.splitext(bare)
            found = listed.get(_plain(stem if ending.lower() in _ENDINGS else bare) + ".*")
        return place, found


def _plain(name: str) -> str:
    """A name in which letters' case and the two ways to write an accent make no difference."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def _existing(root: Path, folder: str) -> str:
    """The folder as it is written on disk, where it is there at all."""
    place = str(root)
    for name in folder.split("/") if folder else ():
        below = os.path.join(place, name)
        if not os.path.isdir(below) and os.path.isdir(place):
            alike = (other for other in sorted(os.listdir(place)) if _plain(other) == _plain(name))
            below = os.path.join(place, next(alike, name))
        place = below
    return place


def _listing(folder: str, deep: bool) -> dict[str, str]:
    """Files of a folder: by name, by plain name, and by plain name without its ending, ``b001.*``.

    With ``deep`` those of the folders below it as well, each as its path.
    """
    found = sorted(os.path.relpath(path, folder) for path in _walk(folder)) if deep else _files(folder)
    endings = {path: os.path.splitext(path)[1] for path in found}
    pictures = {path: ending for path, ending in endings.items() if ending.lower() in _ENDINGS}
    listed: dict[str, str] = {}
    for path in pictures:
        listed.setdefault(os.path.basename(path) if deep else path, path)
    for path, ending in pictures.items():  # a name as it stands goes before one in other letters
        name = _plain(os.path.basename(path) if deep else path)
        listed.setdefault(name, path)
        listed.setdefault(f"{name[: -len(ending)]}.*", path)
    return listed


def _walk(folder: str) -> Iterator[str]:
    for above, _, _ in os.walk(folder):
        yield from (os.path.join(above, name) for name in _files(above))


def _files(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:  # it knows what is a file; links are asked
            return sorted(e.name for e in entries if e.is_file(follow_symlinks=False) or _leads(e))
    except OSError:
        return []


def _leads(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and os.path.isfile(entry.path)


def _open(path: str, least: int = 0) -> Image.Image:
    return open_picture(Path(path), least)


@lru_cache(maxsize=1 << 18)
def _stamp(path: str) -> str:
    """Size and time of a file: another content has another one. Looked at once per process."""
    try:
        stat = os.stat(path)
    except OSError:
        return "absent"
    return f"{stat.st_size:x}-{stat.st_mtime_ns:x}"
