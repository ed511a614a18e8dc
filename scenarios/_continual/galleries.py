"""What the queries of an experience are ranked against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from clplat.data.folders import stable_hash
from clplat.data.records import Gallery, Item, Query, RetrievalSet
from clplat.errors import UserError

__all__ = ["Galleries", "in_galleries"]

Galleries = Literal["source", "union", "growing"]


def in_galleries(
    kind: Galleries,
    name: str,
    sources: Sequence[RetrievalSet],
    dealt: Mapping[str, Sequence[tuple[int, Query]]],
) -> dict[str, RetrievalSet]:
    """The set ``name`` of every experience.

    ``source``: what its queries were ranked against in their own benchmark; the union where those are
    several. ``union``: every gallery of the benchmark. ``growing``: what answers its own queries and those of
    earlier experiences, their candidates, and that share of all other items which has arrived by then.

    Args:
        sources: the sets of this name in the benchmark.
        dealt: experience -> its queries, each with the number of its source.

    Raises:
        UserError: sets that are measured in different ways.
    """
    protocol, labels = sources[0].protocol, sources[0].labels
    if any((other.protocol, other.labels) != (protocol, labels) for other in sources):
        raise UserError(f"the sets '{name}' of this benchmark have several protocols; they cannot be mixed")
    galleries = [held.gallery for held in sources]
    if kind == "growing":
        made = _growing(name, galleries, dealt)
    else:
        used = {e: [galleries[i] for i in dict.fromkeys(i for i, _ in asked)] for e, asked in dealt.items()}
        made = {e: _union(galleries if kind == "union" else held) for e, held in used.items()}
    changed = any(made[e].items != galleries[i].items for e, asked in dealt.items() for i, _ in asked)
    protocol = replace(protocol, name=f"{protocol.name}/{kind}") if changed else protocol
    return {e: RetrievalSet(_within(dealt[e], made[e]), made[e], protocol, labels) for e in dealt}


def _union(galleries: Sequence[Gallery]) -> Gallery:
    first = galleries[0]
    if all(other == first for other in galleries):
        return first
    distinct = {gallery.name: gallery for gallery in galleries}
    return Gallery("+".join(distinct), list(_items(list(distinct.values())).values()))


def _items(galleries: Sequence[Gallery]) -> dict[str, Item]:
    """Items by key.

    Raises:
        UserError: one key names two things.
    """
    found: dict[str, Item] = {}
    for gallery in galleries:
        for item in gallery.items:
            if found.setdefault(item.key, item) != item:
                raise UserError(f"two galleries name different items '{item.key}'; they cannot be mixed")
    return found


def _growing(
    name: str, galleries: Sequence[Gallery], dealt: Mapping[str, Sequence[tuple[int, Query]]]
) -> dict[str, Gallery]:
    items = _items(galleries)
    owner: dict[str, int] = {}
    for place, asked in enumerate(dealt.values()):
        for _, query in asked:
            for key in (*query.targets, *(query.candidates or ())):
                owner.setdefault(key, place)
    for key in items:
        owner.setdefault(key, stable_hash("distractor", key) % len(dealt))
    made = {}
    for place, experience in enumerate(dealt):
        arrived = [item for key, item in items.items() if owner[key] <= place]
        made[experience] = Gallery(f"{name}-growing-{place}", arrived)
    return made


def _within(asked: Sequence[tuple[int, Query]], gallery: Gallery) -> tuple[Query, ...]:
    """The queries; what has not arrived needs no excluding."""
    keys = {item.key for item in gallery.items}
    return tuple(
        query
        if keys.issuperset(query.exclude)
        else replace(query, exclude=tuple(key for key in query.exclude if key in keys))
        for _, query in asked
    )
