"""Items by the names that a table gives them: pictures, words, or both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from clplat.data.items import Item, Picture
from clplat.errors import UserError, nearest

__all__ = ["NamedItems", "NamedPictures"]


class NamedPictures(Protocol):
    """Pictures by name, of a folder (`PictureFiles`) or of tar files (`TarPictures`)."""

    source: str

    @property
    def absent(self) -> tuple[str, ...]: ...
    def picture(self, name: str, caption: str | None = None) -> Picture: ...
    def unkept(self, name: str, caption: str | None = None) -> Picture: ...
    def look(self, names: Iterable[str]) -> None: ...


class NamedItems:
    """What a name stands for: the picture of this name, or the item that a table describes.

    Args:
        pictures: where pictures are.
        held: name -> name of its picture or None, its text or None; other names are pictures.
        captions: of pictures, by their names.

    Example:
        >>> from tempfile import mkdtemp
        >>> from clplat.data.picture_files import PictureFiles
        >>> items = NamedItems(PictureFiles(mkdtemp(), "shop"), {"17": (None, "a red bag")})
        >>> items.item("17").text, items.key("17"), items.key("a/b.jpg")
        ('a red bag', 'shop/17', 'shop/a/b.jpg')
    """

    def __init__(
        self,
        pictures: NamedPictures,
        held: Mapping[str, tuple[str | None, str | None]] | None = None,
        captions: Mapping[str, str] | None = None,
    ) -> None:
        self.pictures, self.held, self.captions = pictures, held or {}, captions or {}
        #: Whether every name is that of a picture, and its key that of the item.
        self.plain = all(picture == name and text is None for name, (picture, text) in self.held.items())

    @property
    def prefix(self) -> str:
        """The beginning of every key."""
        return f"{self.pictures.source}/"

    def key(self, name: str) -> str:
        """The key of the item: that of its picture where it holds nothing else."""
        picture, text = self.held.get(name, (name, None))
        return self.prefix + (picture if picture is not None and text is None else name)

    def picture(self, name: str) -> Picture:
        """The picture of an item, in a new object.

        Raises:
            UserError: it has none.
        """
        picture = self.held.get(name, (name, None))[0]
        if picture is None:
            near = nearest(name, [other for other, (shown, _) in self.held.items() if shown][:1000])
            raise UserError(f"item '{name}' has a text and no picture: it cannot be a reference{near}")
        return self.pictures.unkept(picture, self.captions.get(picture))

    def item(self, name: str) -> Item:
        """The item of this name."""
        picture, text = self.held.get(name, (name, None))
        shown = None if picture is None else self.pictures.unkept(picture, self.captions.get(picture))
        return Item(self.key(name), shown, text)

    def pictures_of(self, names: Iterable[str]) -> Iterable[str]:
        """The names of the pictures of these items."""
        if self.plain:
            return names
        return [shown for name in names if (shown := self.held.get(name, (name, None))[0]) is not None]
