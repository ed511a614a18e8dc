"""Domains of the catalogue: training triplets, and queries against galleries full of near misses."""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import product, zip_longest

import numpy as np

from clplat.data.records import (
    Candidate,
    Domain,
    Example,
    Gallery,
    Picture,
    Protocol,
    Query,
    RetrievalSet,
    Triplet,
)
from clplat.errors import unknown_name

from .items import (
    ATTRIBUTES,
    CATEGORIES,
    Item,
    changed,
    generator,
    held_out,
    home,
    sample_item,
    vary,
)
from .language import describe, modification
from .styles import STYLES, render

__all__ = ["DOMAINS", "PROTOCOL", "build_domain", "check_sizes", "picture"]

PROTOCOL = Protocol(name="catalogue/near-miss", exclude_reference=True, ks=(1, 5, 10), primary="R@5")
# Any category in any style is a domain. The first six differ in both from each other.
DOMAINS = tuple(
    f"{category}-{list(STYLES)[(i + turn) % len(STYLES)]}"
    for turn in range(len(STYLES))
    for i, category in enumerate(CATEGORIES)
)
# Part of every key: raise it when pictures change, and features of old ones are not taken for theirs.
_VERSION = 1


def picture(item: Item, style: str, instance: str, size: int, caption: str | None = None) -> Picture:
    """A picture that is drawn when it is loaded.

    Args:
        item: what it shows.
        style: rendering style.
        instance: tells several pictures of one product apart, e.g. ``"train/0"``.
        size: width and height in pixels.
        caption: what it says; by default the product's full description.
    """
    name = hashlib.sha256(f"{_VERSION}/{item.key}/{instance}".encode()).hexdigest()[:14]
    return Picture(
        key=f"catalogue/{size}/{item.category}-{style}/{name}",
        load=partial(render, item, style, instance, size),
        caption=describe(item) if caption is None else caption,
    )


def check_sizes(train: int, queries: int, gallery: int, negatives: int, size: int) -> None:
    """Refuse what `build_domain` cannot make.

    Raises:
        ValueError: a value is out of bounds; the line says which are allowed.
    """
    bounds = {
        "train": (train, 1, 1_000_000),
        # A family of near misses takes 16 pictures. Beyond the upper end most products would appear twice.
        "gallery": (gallery, 20, 1000),
        "queries": (queries, 1, gallery),
        "negatives": (negatives, 0, 4),
        "size": (size, 16, 1024),
    }
    for name, (value, low, high) in bounds.items():
        if not low <= value <= high:
            raise ValueError(f"{name} must be {low} to {high}, not {value}")


def build_domain(
    name: str,
    train: int = 600,
    queries: int = 120,
    gallery: int = 300,
    negatives: int = 0,
    size: int = 96,
    seed: int = 0,
) -> Domain:
    """Build the records of one domain; nothing is drawn.

    Args:
        name: one of `DOMAINS`.
        train: number of training triplets.
        queries: number of test queries; validation has half of them, against a gallery of half the size.
        gallery: number of pictures in the test gallery.
        negatives: near misses that each training triplet brings along as extra candidates, 0 to 4.
        size: native size of the pictures in pixels.
        seed: draws the triplets and queries. Pictures do not depend on it, so that what one seed has
            encoded serves the next.

    Raises:
        UserError: no domain has this name.
        ValueError: a number is out of bounds.
    """
    check_sizes(train, queries, gallery, negatives, size)
    if name not in DOMAINS:
        raise unknown_name("domain", name, DOMAINS)
    rng = generator("train", name, seed)
    triplets = tuple(_triplet(name, i, negatives, size, rng) for i in range(train))
    halves = (max(1, queries // 2), max(20, gallery // 2))
    return Domain(
        name=name,
        train=triplets,
        val=_retrieval(name, "val", *halves, size, generator("val", name, seed)),
        test=_retrieval(name, "test", queries, gallery, size, generator("test", name, seed)),
    )


def _triplet(domain: str, index: int, negatives: int, size: int, rng: np.random.Generator) -> Example:
    category, style = domain.split("-")
    names = list(ATTRIBUTES[category])

    def shot(item: Item) -> Picture:
        return picture(item, style, f"train/{int(rng.integers(2))}", size)

    reference = sample_item(category, rng)
    while held_out(reference) or home(reference) != "train":
        reference = sample_item(category, rng)
    count = int(rng.choice(3, p=(0.4, 0.4, 0.2))) + 1
    target = reference
    while target == reference or held_out(target):
        target = vary(reference, [names[int(i)] for i in rng.permutation(len(names))[:count]], rng)
    extras = []
    for miss in _near_misses(reference, target, negatives, rng):
        extras.append(Candidate(shot(miss), label=f"{domain}/{miss.key}", kind="near_miss"))
    return Triplet(
        id=f"{domain}/train/{index}",
        reference=shot(reference),
        text=modification(reference, target, rng),
        target=shot(target),
        label=f"{domain}/{target.key}",
        domain=domain,
        extras=tuple(extras),
    )


def _near_misses(reference: Item, target: Item, count: int, rng: np.random.Generator) -> list[Item]:
    """Distinct products one attribute off the target, at most ``count``.

    In turn one that keeps the reference's look in a changed attribute, and one that has all that is asked
    for on another base: the first fools a model that looks only at the picture, the second one that only
    reads the text.
    """
    if not count:
        return []
    moved = changed(reference, target)
    looks = [target.replace(name, reference[name]) for name in moved]
    bases = [
        target.replace(name, value)
        for name, values in ATTRIBUTES[target.category].items()
        for value in values
        if name not in moved and value != target[name]
    ]
    kinds = [[kind[int(i)] for i in rng.permutation(len(kind))] for kind in (looks, bases)]
    mixed = [miss for turn in zip_longest(*kinds) for miss in turn if miss is not None and not held_out(miss)]
    return mixed[:count]


def _family(category: str, split: str, unseen: bool, rng: np.random.Generator) -> list[Item]:
    """Sixteen products: all combinations of two values in four attributes.

    Each is surrounded by others that differ in one attribute, so that any two of them make a query with
    near misses of both kinds in the gallery. At least three may be references in the split.
    """
    names = list(ATTRIBUTES[category])
    while True:
        base = sample_item(category, rng)
        if held_out(base) != unseen:
            continue
        free = [names[int(i)] for i in rng.permutation(len(names))[:4]]
        other = vary(base, free, rng)
        members = []
        for flips in product((False, True), repeat=4):
            item = base
            for name, flip in zip(free, flips, strict=True):
                item = item.replace(name, other[name]) if flip else item
            members.append(item)
        if sum(home(item) == split for item in members) >= 3:
            return members


def _retrieval(
    domain: str, split: str, queries: int, gallery: int, size: int, rng: np.random.Generator
) -> RetrievalSet:
    category, style = domain.split("-")
    families = [_family(category, split, unseen=i % 2 == 0, rng=rng) for i in range(max(1, gallery // 20))]
    items = list(dict.fromkeys(item for family in families for item in family))
    pairs = _pairs(families, split, queries, rng)
    # Some products appear twice, wanted ones first; the gallery has exactly the size asked for.
    wanted = list(dict.fromkeys(target for _, target in pairs))
    again = list(
        dict.fromkeys([*(wanted[int(i)] for i in rng.permutation(len(wanted))[: gallery // 10]), *items])
    )
    shots = [(item, 0) for item in items] + [(item, copy) for copy in (1, 2, 3) for item in again]
    shown: dict[Item, list[Picture]] = {}
    for item, copy in shots[:gallery]:
        shown.setdefault(item, []).append(picture(item, style, f"{split}/{copy}", size))
    pool = [p for pictures in shown.values() for p in pictures]
    records = tuple(
        Query(
            id=f"{domain}/{split}/{i}",
            reference=shown[reference][0],
            text=modification(reference, target, rng),
            targets=tuple(p.key for p in shown[target]),
            tags={"combination": "unseen" if held_out(target) else "seen"},
        )
        for i, (reference, target) in enumerate(pairs)
    )
    # Shuffled: the place in the gallery says nothing about the product.
    pictures = tuple(pool[int(i)] for i in rng.permutation(len(pool)))
    name = f"{domain}/{split}/{hashlib.sha256(' '.join(p.key for p in pictures).encode()).hexdigest()[:10]}"
    return RetrievalSet(records, Gallery(name, pictures), PROTOCOL)


def _pairs(
    families: list[list[Item]], split: str, count: int, rng: np.random.Generator
) -> list[tuple[Item, Item]]:
    """Distinct pairs of reference and target, one to three attributes apart, evenly from all families."""
    out: dict[tuple[Item, Item], None] = {}
    turn = 0
    while len(out) < count:
        family = families[turn % len(families)]
        turn += 1
        bases = [item for item in family if home(item) == split]
        reference = bases[int(rng.integers(len(bases)))]
        distance = int(rng.choice(3, p=(0.4, 0.4, 0.2))) + 1
        near = [item for item in family if len(changed(reference, item)) == distance]
        out.setdefault((reference, near[int(rng.integers(len(near)))]))
    return list(out)
