"""A shop: its items on shelves, their pictures, and what is said of them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from clplat.data.folders import SPLITS, stable_hash
from clplat.data.named_items import NamedPictures
from clplat.data.records import Picture

from .draw import Change, Shelf
from .items import Combination, ShopItem
from .phrases import Phrases

__all__ = ["Shop"]


@dataclass
class Shop:
    """All items of a table.

    Args:
        items: in the order of the table.
        attributes: names of their values.
        phrases: what is said of them; files: their pictures.
        unseen: share of combinations that training never shows.
        noise: share of texts that end in words of the reference's title.

    Attributes:
        shown: the items of each split; of training those whose combination is not held out.
        trained: combinations that training may show.
    """

    items: Sequence[ShopItem]
    attributes: Sequence[str]
    phrases: Phrases
    files: NamedPictures
    unseen: float = 0.0
    noise: float = 0.0
    shown: dict[str, list[ShopItem]] = field(init=False)
    trained: frozenset[Combination] = field(init=False)

    def __post_init__(self) -> None:
        self.shown = {split: [item for item in self.items if item.split == split] for split in SPLITS}
        self.shown["train"] = [item for item in self.shown["train"] if not self._held_out(item.values)]
        self.trained = frozenset(item.values for item in self.shown["train"] if item.whole)

    @property
    def partial(self) -> int:
        """How many items lack a value."""
        return sum(not item.whole for item in self.items)

    def _held_out(self, cell: Combination) -> bool:
        return stable_hash("unseen", *cell) / 2**64 < self.unseen

    def shelf(self, split: str, domains: Iterable[str] | None = None) -> Shelf:
        """The items of a split, of these domains or of all."""
        wanted = None if domains is None else frozenset(domains)
        return Shelf(item for item in self.shown[split] if wanted is None or item.domain in wanted)

    def picture(self, item: ShopItem) -> Picture:
        """The picture of an item, with the fullest of its captions."""
        return self.files.picture(item.picture, self.phrases.fullest(self._named(item)))

    def text(self, change: Change, draw: random.Random) -> str:
        """The words of a change, in one of its phrasings, at times with words that do not matter."""
        wanted = {self.attributes[place]: change.wanted[place] for place in change.places}
        said = draw.choice(self.phrases.changes(wanted))
        words = change.reference.title.split()
        if words and draw.random() < self.noise:
            start = draw.randrange(max(1, len(words) - 1))
            return f"{said}, {' '.join(words[start : start + 2])}"
        return said

    def captions(self, item: ShopItem) -> list[str]:
        """All that is true of an item; see `Phrases.captions`."""
        return self.phrases.captions(self._named(item), item.title or None)

    def _named(self, item: ShopItem) -> dict[str, str]:
        return {name: value for name, value in zip(self.attributes, item.values, strict=True) if value}
