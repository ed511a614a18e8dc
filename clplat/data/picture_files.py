"""Pictures below a folder, by the names that a benchmark gives them; none is decoded before it is needed."""

from __future__ import annotations

import os
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

    A name may come without its ending, with another one, or in other letters' case, as copies of
    benchmarks do. A picture that is not there is made as well, and is remembered in `absent`:
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
        self._listed: dict[str, dict[str, str]] = {}
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
        folder, _, bare = name.rpartition("/")
        found = self._find(folder, bare)
        key = f"{self.source}/{name}"
        if found is None:
            self._absent[key] = None
        path = os.path.join(self.root, folder, found or bare)
        return Picture(key, partial(_open, path), caption, stamp=partial(_stamp, path))

    def look(self, names: Iterable[str]) -> None:
        """Remember in `absent` which of these are not there; no picture is made."""
        for name in names:
            folder, _, bare = name.rpartition("/")
            if self._find(folder, bare) is None:
                self._absent[f"{self.source}/{name}"] = None

    def pictures(self, names: Sequence[str]) -> tuple[Picture, ...]:
        """The pictures of these names, in their order."""
        return tuple(map(self.picture, names))

    def _find(self, folder: str, name: str) -> str | None:
        """The file's name as it is on disk: as it stands, in other letters' case, or with another ending."""
        listed = self._listed.get(folder)
        if listed is None:
            listed = self._listed[folder] = _listing(self.root / folder, self.flat)
        found = listed.get(name) or listed.get(name.lower())
        if found is None:
            stem, ending = os.path.splitext(name)
            found = listed.get((stem if ending.lower() in _ENDINGS else name).lower() + ".*")
        return found


def _listing(folder: Path, deep: bool) -> dict[str, str]:
    """Files of a folder: by name, by name in small letters, and by name without its ending, ``b001.*``.

    With ``deep`` those of the folders below it as well, each as its path.
    """
    if deep:
        found = sorted(os.path.relpath(path, folder) for path in _walk(folder))
    else:
        try:
            found = sorted(os.listdir(folder))
        except OSError:
            found = []
    listed: dict[str, str] = {}
    pictures = [path for path in found if os.path.splitext(path)[1].lower() in _ENDINGS]
    for path in pictures:
        listed.setdefault(os.path.basename(path), path)
    for path in pictures:  # a name as it stands goes before one in other letters
        name = os.path.basename(path).lower()
        listed.setdefault(name, path)
        listed.setdefault(os.path.splitext(name)[0] + ".*", path)
    return listed


def _walk(folder: Path) -> Iterator[str]:
    for above, _, names in os.walk(folder):
        yield from (os.path.join(above, name) for name in names)


def _open(path: str) -> Image.Image:
    return open_picture(Path(path))


@lru_cache(maxsize=1 << 18)
def _stamp(path: str) -> str:
    """Size and time of a file: another content has another one. Looked at once per process."""
    try:
        stat = os.stat(path)
    except OSError:
        return "absent"
    return f"{stat.st_size:x}-{stat.st_mtime_ns:x}"
