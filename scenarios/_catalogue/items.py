"""Products of the catalogue: a category and one value per attribute, and which of them belong where."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

__all__ = [
    "ATTRIBUTES",
    "CATEGORIES",
    "COLOURS",
    "PATTERNS",
    "Item",
    "changed",
    "generator",
    "held_out",
    "home",
    "sample_item",
    "vary",
]

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "black", "white")
PATTERNS = ("plain", "striped", "dotted", "checked", "floral")
_LENGTHS = ("short", "knee-length", "long")
_SLEEVES = ("sleeveless", "short", "long")

# Category -> attribute -> values. Values of one attribute exclude each other: a product has at most one
# detail, so that a modification text determines its target exactly.
ATTRIBUTES: dict[str, dict[str, tuple[str, ...]]] = {
    "dress": {
        "colour": COLOURS,
        "pattern": PATTERNS,
        "length": _LENGTHS,
        "sleeves": _SLEEVES,
        "detail": ("none", "belt", "collar", "buttons", "bow"),
    },
    "top": {
        "colour": COLOURS,
        "pattern": PATTERNS,
        "sleeves": _SLEEVES,
        "neck": ("round", "v-shaped", "high"),
        "detail": ("none", "pocket", "buttons", "bow", "zip"),
    },
    "shoe": {
        "colour": COLOURS,
        "pattern": PATTERNS,
        "heel": ("flat", "low", "high"),
        "shaft": ("low-cut", "ankle-high", "knee-high"),
        "detail": ("none", "buckle", "bow", "laces", "studs"),
    },
    "bag": {
        "colour": COLOURS,
        "pattern": PATTERNS,
        "size": ("small", "medium-sized", "large"),
        "handle": ("none", "short", "long"),
        "detail": ("none", "buckle", "pocket", "bow", "tassel"),
    },
    "coat": {
        "colour": COLOURS,
        "pattern": PATTERNS,
        "length": _LENGTHS,
        "collar": ("none", "lapels", "hood"),
        "detail": ("none", "buttons", "zip", "belt", "pockets"),
    },
    "trousers": {
        "colour": COLOURS,
        "pattern": PATTERNS,
        "length": _LENGTHS,
        "legs": ("slim", "wide"),
        "detail": ("none", "belt", "pockets", "cuffs", "bow"),
    },
}
CATEGORIES = tuple(ATTRIBUTES)
_PLACES = {category: {name: i for i, name in enumerate(names)} for category, names in ATTRIBUTES.items()}


@dataclass(frozen=True)
class Item:
    """One product: its category and one value per attribute, in the order of `ATTRIBUTES`.

    Example:
        >>> item = Item("bag", ("red", "plain", "small", "long", "bow"))
        >>> item["handle"], item.replace("handle", "short").key
        ('long', 'bag/red_plain_small_short_bow')
    """

    category: str
    values: tuple[str, ...]

    @property
    def key(self) -> str:
        """Stable name; equal for equal products only."""
        return f"{self.category}/{'_'.join(self.values)}"

    @property
    def attributes(self) -> dict[str, str]:
        """Attribute -> value."""
        return dict(zip(ATTRIBUTES[self.category], self.values, strict=True))

    def __getitem__(self, attribute: str) -> str:
        return self.values[_PLACES[self.category][attribute]]

    def replace(self, attribute: str, value: str) -> Item:
        """The same product with one attribute set."""
        place = _PLACES[self.category][attribute]
        return Item(self.category, (*self.values[:place], value, *self.values[place + 1 :]))


def generator(*parts: object) -> np.random.Generator:
    """A random generator seeded by what the parts print as; equal on every machine and in every process."""
    return np.random.default_rng(_stable(*parts))


def _stable(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "big")


def sample_item(category: str, rng: np.random.Generator) -> Item:
    """Draw a product, every attribute uniform."""
    values = ATTRIBUTES[category].values()
    return Item(category, tuple(options[int(rng.integers(len(options)))] for options in values))


def vary(item: Item, attributes: list[str], rng: np.random.Generator) -> Item:
    """Change exactly the named attributes, each to a uniformly drawn other value."""
    for attribute in attributes:
        others = [v for v in ATTRIBUTES[item.category][attribute] if v != item[attribute]]
        item = item.replace(attribute, others[int(rng.integers(len(others)))])
    return item


def changed(before: Item, after: Item) -> list[str]:
    """Names of the attributes in which two products of a category differ."""
    names = ATTRIBUTES[before.category]
    return [n for n, a, b in zip(names, before.values, after.values, strict=True) if a != b]


def held_out(item: Item) -> bool:
    """Whether the product's colour and pattern are a combination that training never shows.

    One pattern of five is held out for every colour, another one per category, so that every colour and
    every pattern alone stays well known: what is unseen is only their combination.
    """
    turn = _stable("held out", item.category) % len(PATTERNS)
    return PATTERNS[(2 * COLOURS.index(item["colour"]) + turn) % len(PATTERNS)] == item["pattern"]


def home(item: Item) -> str:
    """The one split, ``"train"``, ``"val"`` or ``"test"``, in which the product may be a reference."""
    share = _stable("home", item.key) % 10
    return "train" if share < 5 else "val" if share < 7 else "test"
