"""Queries that the text alone or the picture alone answers, as far as their records show it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping

from clplat.checking.pictures import Look
from clplat.data.records import Query, RetrievalSet

__all__ = ["shortcuts"]


def shortcuts(held: RetrievalSet, looks: Mapping[str, Look]) -> dict[str, list[str]]:
    """What answers queries of a set without the other half of them -> their ids.

    ==============  =================================================================================
    ``reference``   the reference is a right answer, or looks exactly like one, and is no excluded one
    ``words``       at least two queries say the same of different references, and share an answer
    ``picture``     at least two queries say different things of a reference, and share an answer
    ``named``       the text is the caption of one gallery item alone, which is a right answer
    ==============  =================================================================================

    Args:
        held: queries whose answers are known; of others nothing is found.
        looks: of pictures by key, where they were decoded.
    """
    if held.labels != "known":
        return {}
    asked = [query for query in held.queries if query.reference is not None and query.said]
    found = {
        "reference": [query.id for query in asked if _is_answer(query, held, looks)],
        "words": _shared(asked, lambda q: q.said, lambda q: q.reference),
        "picture": _shared(asked, lambda q: q.reference, lambda q: q.said),
        "named": _named(asked, held),
    }
    return {name: ids for name, ids in found.items() if ids}


def _is_answer(query: Query, held: RetrievalSet, looks: Mapping[str, Look]) -> bool:
    assert query.reference is not None
    own, out = query.reference.key, set(query.exclude)
    if held.protocol.exclude_reference:
        out.add(own)
    digest = looks[own].digest if own in looks else ""
    return any(
        key == own or (digest and key in looks and looks[key].digest == digest)
        for key in query.targets
        if key not in out
    )


def _shared(
    asked: Iterable[Query], same: Callable[[Query], Hashable], other: Callable[[Query], Hashable]
) -> list[str]:
    groups: dict[Hashable, list[Query]] = defaultdict(list)
    for query in asked:
        groups[same(query)].append(query)
    return [
        query.id
        for group in groups.values()
        if len({other(query) for query in group}) > 1
        and set(group[0].targets).intersection(*(query.targets for query in group[1:]))
        for query in group
    ]


def _named(asked: Iterable[Query], held: RetrievalSet) -> list[str]:
    items: dict[str, list[str]] = defaultdict(list)
    for item in held.gallery.items:
        caption = item.text or (item.picture.caption if item.picture is not None else None)
        if caption:
            items[_plain(caption)].append(item.key)
    return [
        query.id
        for query in asked
        if any(len(keys := items.get(_plain(t), [])) == 1 and keys[0] in query.targets for t in query.said)
    ]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).strip(" .!?")
