"""What is embedded: a picture, words, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Item", "Picture", "as_item"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture, decoded only when its pixels are read.

    Args:
        key: unique name; equal keys are the same picture. Right answers and galleries go by it.
        load: returns the RGB picture at its native size.
        caption: what it shows, in words, where known.
        once: it was drawn at random and will not come back: nothing of it is worth keeping.
        stamp: tells its content now from what it may have been before, without being decoded, such as the
            size and time of a file. None where the key says it all.
        sized: returns it with at least that many pixels on its shorter side, smaller than it is where that is
            faster, as of JPEGs. None where it comes at its native size only.
        place: the file that holds it among others and its first byte there: who reads in this order reads
            forward. None for a picture that is a file of its own, or is drawn.
    """

    key: str
    load: Callable[[], Image.Image] = field(repr=False, compare=False)
    caption: str | None = field(default=None, compare=False)
    once: bool = field(default=False, compare=False)
    stamp: Callable[[], str] | None = field(default=None, repr=False, compare=False)
    sized: Callable[[int], Image.Image] | None = field(default=None, repr=False, compare=False)
    place: tuple[str, int] | None = field(default=None, repr=False, compare=False)

    def read(self, least: int = 0) -> Image.Image:
        """The RGB picture; with ``least`` it may be smaller, but not below that on its shorter side."""
        return self.load() if not least or self.sized is None else self.sized(least)

    @property
    def content(self) -> str:
        """What is kept of it on disk goes by this name: its key and its stamp.

        Example:
            >>> Picture("shoe.jpg", lambda: Image.new("RGB", (8, 8)), stamp=lambda: "1205-77").content
            'shoe.jpg@1205-77'
        """
        return self.key if self.stamp is None else f"{self.key}@{self.stamp()}"


@dataclass(frozen=True, slots=True)
class Item:
    """A picture, a text, or a picture with a text: a query, a target, a negative, an entry of a gallery.

    What is there decides how it is embedded: a picture by the image tower, a text by the text tower, both by
    the composer. `Item.of` names an item after what it holds.

    Args:
        key: names it in its gallery, where right answers are told by key. What is kept of it on disk goes by
            the picture's own content and by the text itself.
        picture: what is shown.
        text: what is said.
        texts: further texts that say the same, such as other prompts of a class: where the item is ranked,
            each is embedded, and the unit rows are averaged. Training looks at ``text`` alone.

    Raises:
        ValueError: it holds neither a picture nor a text, or further texts without a first one.

    Example:
        >>> Item("dog", text="a photo of a dog", texts=("a sketch of a dog",)).said
        ('a photo of a dog', 'a sketch of a dog')
    """

    key: str
    picture: Picture | None = None
    text: str | None = None
    texts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.picture is None and self.text is None:
            raise ValueError(f"item '{self.key}' needs a picture, a text or both")
        if self.texts and self.text is None:
            raise ValueError(f"item '{self.key}' has further texts and no first one: give it text")

    @property
    def said(self) -> tuple[str, ...]:
        """All its texts."""
        return () if self.text is None else (self.text, *self.texts)

    @property
    def single(self) -> tuple[Item, ...]:
        """An item for each of its texts, or itself where it has one or none."""
        if not self.texts:
            return (self,)
        return tuple(Item(self.key, self.picture, text) for text in self.said)

    @classmethod
    def of(cls, picture: Picture | None = None, text: str | None = None) -> Item:
        """An item named after its picture, its text, or both.

        Example:
            >>> Item.of(text="a red bag").key
            'a red bag'
        """
        names = [*([picture.key] if picture is not None else []), *([text] if text is not None else [])]
        return cls(" + ".join(names), picture, text)


def as_item(held: Item | Picture | str) -> Item:
    """A picture or a text as the item that holds nothing else; an item as it is."""
    if isinstance(held, Item):
        return held
    return Item.of(text=held) if isinstance(held, str) else Item.of(held)
