"""Training triplets and queries of one domain of `scenarios.attributes`."""

from __future__ import annotations

import random
from collections.abc import Sequence

from clplat.data.folders import stable_hash
from clplat.data.records import Candidate, Example, Gallery, Protocol, Query, RetrievalSet, Triplet

from .draw import Change, Shelf, draw_changes
from .items import ShopItem
from .shop import Shop

__all__ = ["PROTOCOL", "draw_triplets", "retrieval_sets"]

PROTOCOL = Protocol(
    "attributes/all-items", metrics=("R@1", "R@5", "R@10", "mAP@10", "R_sub@1"), primary="R@10"
)

#: Near misses beside the answer among a query's own candidates.
_RIVALS = 9


def draw_triplets(
    shop: Shop, domain: str, earlier: Sequence[str], most: int, limit: int, negatives: int, seed: int
) -> tuple[Example, ...]:
    """Distinct triplets whose targets are of the domain.

    Args:
        earlier: domains whose items may be references as well.
        most: attributes of a change at most; limit: triplets; negatives: candidates of each.
    """
    own, shown = shop.shelf("train", [domain]), shop.shelf("train", [domain, *earlier])
    draw = random.Random(stable_hash("train", seed, domain, *sorted(earlier)))
    found = []
    for number, change in enumerate(draw_changes(shown, own.combinations, most, limit, draw)):
        target = draw.choice(own.cells[change.wanted])
        text, label = shop.text(change, draw), "/".join(change.wanted)
        extra = _negatives(shop, shown, change, negatives, draw)
        reference = shop.picture(change.reference)
        name = f"{domain}/train/{number:05d}"
        found.append(Triplet(name, reference, text, shop.picture(target), label, domain, extra))
    return tuple(found)


def _negatives(
    shop: Shop, shown: Shelf, change: Change, count: int, draw: random.Random
) -> tuple[Candidate, ...]:
    """The reference, then items that lack one of the wanted values."""
    if not count:
        return ()
    others = [item for item in shown.near(change.wanted) if item.id != change.reference.id]
    near = draw.sample(others, min(count - 1, len(others)))
    kinds = [(change.reference, "reference"), *((item, "near_miss") for item in near)]
    return tuple(Candidate(shop.picture(item), "/".join(item.values), kind) for item, kind in kinds)


def retrieval_sets(
    shop: Shop,
    split: str,
    names: Sequence[str],
    everywhere: bool,
    most: int,
    limit: int,
    gallery: int | None,
) -> dict[str, RetrievalSet]:
    """The queries of each domain that gives any, and the one gallery that they share.

    They are the same whatever the order of the stream.

    Args:
        names: the domains; everywhere: references are items of all of them.
        most: attributes of a change at most; limit: queries of a domain; gallery: its items at most.
    """
    items = sorted(shop.shown[split], key=lambda item: stable_hash("gallery", item.id))[:gallery]
    pictures = sorted((shop.picture(item) for item in items), key=lambda picture: picture.key)
    content = stable_hash(*(picture.key for picture in pictures))
    held = Gallery(f"{shop.files.source}/{split}@{content:016x}", pictures)
    answers, every, found = Shelf(items), shop.shelf(split, names), {}
    for name in names:
        shown = every if everywhere else shop.shelf(split, [name])
        wanted = Shelf(item for item in items if item.domain == name)
        draw = random.Random(stable_hash("queries", split, name))
        changes = draw_changes(shown, wanted.combinations, most, limit, draw)
        queries = tuple(_query(shop, split, change, answers, wanted, draw) for change in changes)
        if queries:
            found[name] = RetrievalSet(queries, held, PROTOCOL)
    return found


def _query(
    shop: Shop, split: str, change: Change, answers: Shelf, wanted: Shelf, draw: random.Random
) -> Query:
    """The query of a change: all answers in the gallery, one of the domain's own as the main one."""
    main = shop.picture(draw.choice(wanted.cells[change.wanted])).key
    rivals = [shop.picture(item).key for item in _rivals(answers, change, draw)]
    tags = {
        "change": " + ".join(shop.attributes[place] for place in change.places),
        "combination": "seen" if change.wanted in shop.trained else "unseen",
    }
    return Query(
        f"{split}/{change.reference.id} -> {'/'.join(change.wanted)}",
        shop.picture(change.reference),
        shop.text(change, draw),
        tuple(shop.picture(item).key for item in answers.cells[change.wanted]),
        tags,
        main=main,
        candidates=tuple(sorted({main, *rivals})),
    )


def _rivals(gallery: Shelf, change: Change, draw: random.Random) -> list[ShopItem]:
    """Items that lack one value, never the reference; others where there are too few of them."""
    near = [item for item in gallery.near(change.wanted) if item.id != change.reference.id]
    if len(near) >= _RIVALS:
        return draw.sample(near, _RIVALS)
    out = {*(item.id for item in near), change.reference.id}
    others = (some for cell, some in gallery.cells.items() if cell != change.wanted)
    rest = [item for some in others for item in some if item.id not in out]
    return near + draw.sample(rest, min(_RIVALS - len(near), len(rest)))
