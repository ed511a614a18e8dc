"""Pictures inside larger files, by name, found by an index of where each is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Generic, TypeVar

from clplat.data.decoding import BadPicture, decode
from clplat.data.items import Picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["IndexedPictures", "decoded"]

Member = TypeVar("Member")


class IndexedPictures(Generic[Member]):
    """What `clplat.data.picture_files.PictureFiles` is for a folder, for an index; a base.

    Args:
        members: name of a picture -> where it is.
        source: what the pictures are of: the beginning of their keys.
    """

    def __init__(self, members: Mapping[str, Member], source: str) -> None:
        self.members, self.source = members, source
        self._absent: dict[str, None] = {}

    @property
    def absent(self) -> tuple[str, ...]:
        """Keys of the pictures that were named and are not there."""
        return tuple(self._absent)

    def look(self, names: Iterable[str]) -> None:
        """Remember in `absent` which of these are not there."""
        for name in names:
            if name not in self.members:
                self._absent[f"{self.source}/{name}"] = None

    def picture(self, name: str, caption: str | None = None) -> Picture:
        """The picture of this name; a new object at every call."""
        key = f"{self.source}/{name}"
        if name not in self.members:
            self._absent[key] = None
            return Picture(key, self._refused(name), caption)
        return self._found(key, name, self.members[name], caption)

    unkept = picture

    def _found(self, key: str, name: str, member: Member, caption: str | None) -> Picture:
        """The picture of a member."""
        raise NotImplementedError

    def _refused(self, name: str) -> Callable[[], Image.Image]:
        """What raises when the pixels of a picture are asked for that is not there."""
        raise NotImplementedError


def decoded(read: Callable[[], bytes], least: int, what: str) -> Image.Image:
    """The picture of these bytes; whatever goes wrong is told of ``what``, in one line.

    Raises:
        BadPicture: the bytes cannot be read, or are no picture.
    """
    try:
        return decode(read(), least)
    except Exception as error:  # codecs raise whatever they like
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadPicture(f"cannot read picture {what}: {reason}") from error
