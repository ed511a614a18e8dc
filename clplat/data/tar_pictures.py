"""Pictures inside tar files, found by an index of where each begins; none is read before it is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from clplat.data.decoding import BadPicture
from clplat.data.indexed_pictures import IndexedPictures, decoded
from clplat.data.items import Picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ENDINGS", "Member", "TarPictures"]

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

#: Number of the tar file, first byte, number of bytes.
Member = tuple[int, int, int]


class TarPictures(IndexedPictures[Member]):
    """Pictures by the names of members, as `clplat.data.picture_files.PictureFiles` finds those of a folder.

    Args:
        shards: the tar files, not compressed.
        members: name of a picture -> where it is.
        source: what the pictures are of: the beginning of their keys.
    """

    def __init__(self, shards: Sequence[Path], members: Mapping[str, Member], source: str = "tar") -> None:
        super().__init__(members, source)
        self.shards = tuple(map(str, shards))

    def of(self, source: str) -> TarPictures:
        """The same pictures, their keys beginning with another word."""
        return TarPictures([Path(shard) for shard in self.shards], self.members, source)

    def _found(self, key: str, name: str, member: Member, caption: str | None) -> Picture:
        number, start, size = member
        shard = self.shards[number]
        load = partial(_open, shard, name, start, size)
        stamp = partial(_stamp, shard, start, size)
        return Picture(key, load, caption, stamp=stamp, sized=load, place=(shard, start))

    def _refused(self, name: str) -> Callable[[], Image.Image]:
        return partial(_absent_member, self.shards[0], name)


def _open(shard: str, name: str, start: int, size: int, least: int = 0) -> Image.Image:
    return decoded(
        lambda: os.pread(_opened(shard, os.getpid()).fileno(), size, start), least, f"{name} in {shard}"
    )


@lru_cache(maxsize=64)
def _opened(shard: str, process: int) -> BinaryIO:
    return open(shard, "rb")  # closed when another takes its place


def _absent_member(shard: str, name: str) -> Image.Image:
    raise BadPicture(f"no such picture: {name} in {shard} and the tar files beside it")


@lru_cache(maxsize=1 << 12)
def _shard_stamp(shard: str) -> str:
    try:
        stat = os.stat(shard)
    except OSError:
        return "absent"
    return f"{stat.st_size:x}-{stat.st_mtime_ns:x}"


def _stamp(shard: str, start: int, size: int) -> str:
    return f"{_shard_stamp(shard)}-{start:x}-{size:x}"
