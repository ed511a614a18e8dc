"""Fingerprints of a stream and of its queries: two runs with equal ones saw the same data.

What the records of release 0.1.0 held is digested as it was then, so that a run begun with it can go on. All
other fields are found by walking them: one that is not at its default is part of the digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Protocol

from clplat.data.lazy import LazyExamples
from clplat.data.records import Candidate, Domain, Example, Gallery, Item, Query, RetrievalSet
from clplat.data.walk import beyond, plain

__all__ = ["queries_fingerprint", "stream_fingerprint"]


class Identified(Protocol):
    """A probe: it says what decides about its numbers."""

    def identity(self) -> list[Any]: ...


def stream_fingerprint(domains: Sequence[Domain], probes: Sequence[Identified] = ()) -> str:
    """The sha256 of every key, text, label, weight and tag of a stream, in its order.

    Pixels count as far as keys name content: two streams that may share cached features need equal keys
    for equal pictures only.
    """
    digest = hashlib.sha256()

    def add(*parts: Any) -> None:
        digest.update(_line(parts))

    for domain in domains:
        add("domain", domain.name, *_more(domain, ("name", "train", "sets")))
        for lines in _examples(domain.train):
            digest.update(lines)
        for split, part in domain.sets.items():
            add(*_protocol(split, part))
            add(part.gallery.name, _entries(part.gallery), *_more(part.gallery, ("name", "items")))
            for q in part.queries:
                add(*_query(q), sorted(q.tags.items()), *_more(q, _ASKED))
    for probe in probes:
        add(*probe.identity())
    return digest.hexdigest()


def queries_fingerprint(domains: Sequence[Domain], split: str) -> str:
    """The sha256 of the queries of one split and of what they are ranked against, whatever the stream order.

    Two runs of equal fingerprints had the same queries: their scores share the luck of the draw.
    """
    parts = []
    for domain in sorted(domains, key=lambda d: d.name):
        held = domain.sets[split]
        asked = [(*_query(q), *_more(q, _ASKED)) for q in held.queries]
        parts.append((domain.name, _entries(held.gallery), asked))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


_ASKED = ("id", "reference", "text", "targets", "tags")


def _more(record: Any, known: Sequence[str]) -> list[dict[str, Any]]:
    found = beyond(record, known)
    return [found] if found else []


def _line(parts: Sequence[Any]) -> bytes:
    return json.dumps(parts).encode() + b"\n"


def _examples(train: Sequence[Example]) -> Iterator[bytes | memoryview]:
    """The lines of all examples, some at a time."""
    if not isinstance(train, LazyExamples):
        yield from (_line(_example(example)) for example in train)
        return
    for block in train.blocks():
        if block.plain is None:
            yield from (_line(_example(example)) for example in block.examples)
        else:
            yield _lines(train.domain, *block.plain)


def _lines(domain: str, *columns: Any) -> memoryview:
    """What `_line` makes of each row, made by Arrow: a million rows in a second instead of six."""
    from pyarrow import array, large_string, scalar
    from pyarrow import compute as pc

    from clplat.data.arrow_columns import escaped, letters

    *texts, negatives, weights = columns
    said, kind = quoted(domain)[1:-1], large_string()
    more = "[]" if negatives is None else array([json.dumps(some) for some in negatives], kind)
    counts = "1.0" if weights is None else array([json.dumps(weight) for weight in weights], kind)
    cells: list[Any] = [part for column in texts for part in ('", "', escaped(column))]
    cells = ['["', *cells[1:], f'", "{said}", ', more, ", ", counts, "]\n"]
    held = [scalar(cell, kind) if isinstance(cell, str) else cell for cell in cells]
    return memoryview(letters(pc.binary_join_element_wise(*held, scalar("", kind))))


def _example(e: Example) -> list[Any]:
    picture = e.query.picture
    composed = picture is not None and e.query == Item.of(picture, e.query.text) and e.query.text is not None
    asks = (picture.key, e.query.text) if composed and picture is not None else (plain(e.query), None)
    negatives = [_candidate(candidate) for candidate in e.negatives]
    known = ("id", "query", "target", "label", "domain", "negatives", "weight")
    return [e.id, *asks, _item(e.target), e.label, e.domain, negatives, e.weight, *_more(e, known)]


def _candidate(c: Candidate) -> list[Any]:
    return [_item(c.item), c.label, c.kind, c.scope, *_more(c, ("item", "label", "kind", "scope"))]


def _item(item: Item) -> Any:
    """The key of what is a picture and nothing else."""
    return item.picture.key if item.picture is not None and item == Item.of(item.picture) else plain(item)


def _entries(gallery: Gallery) -> list[Any]:
    return [_item(item) for item in gallery.items]


def _protocol(split: str, part: RetrievalSet) -> list[Any]:
    known = ("name", "exclude_reference", "ks", "primary")
    p, more = part.protocol, _more(part, ("queries", "gallery", "protocol"))
    return [split, p.name, p.exclude_reference, p.ks, p.primary, *_more(p, known), *more]


def _query(q: Query) -> list[Any]:
    return [q.id, q.reference.key if q.reference is not None else None, q.text, q.targets]
