"""What every stream must pass before anything is trained, and the fingerprint of what it then holds."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeVar

from clplat.data.records import Domain, Picture, Probe, RetrievalSet
from clplat.errors import UserError

T = TypeVar("T", bound=Hashable)


def validate(retrieval_set: RetrievalSet, where: str = "") -> None:
    """Check one set of queries and its gallery.

    Args:
        retrieval_set: the queries, their gallery and protocol.
        where: named at the start of a message, e.g. ``"domain 'photo', test"``.

    Raises:
        UserError: no queries or an empty gallery; a repeated gallery key, query id or answer; a query without
            a right answer, or with one that is not in the gallery; a query whose excluded reference is one of
            its right answers.
    """
    start = f"{where}: " if where else ""
    gallery = retrieval_set.gallery
    if not retrieval_set.queries:
        raise UserError(f"{start}there are no queries")
    if not gallery.pictures:
        raise UserError(f"{start}gallery '{gallery.name}' is empty")
    _unique(f"{start}gallery '{gallery.name}' holds picture", (p.key for p in gallery.pictures))
    _unique(f"{start}query id", (query.id for query in retrieval_set.queries))
    keys = {picture.key for picture in gallery.pictures}
    for query in retrieval_set.queries:
        if keys.isdisjoint(query.targets):
            wanted = _some(query.targets) or "none is named"
            raise UserError(
                f"{start}query '{query.id}' has no right answer in gallery '{gallery.name}' ({wanted})"
            )
        if absent := [key for key in query.targets if key not in keys]:
            raise UserError(
                f"{start}of the right answers of query '{query.id}' these are not in gallery "
                f"'{gallery.name}': {_some(absent)}"
            )
        _unique(f"{start}query '{query.id}' names the right answer", query.targets)
        if retrieval_set.protocol.exclude_reference and query.reference.key in query.targets:
            raise UserError(
                f"{start}query '{query.id}' has its own reference '{query.reference.key}' as a right answer, "
                f"which protocol '{retrieval_set.protocol.name}' excludes from the gallery"
            )


def validate_domain(domain: Domain) -> None:
    """Check a domain: its training triplets, both retrieval sets, and that they share no pictures.

    Raises:
        UserError: no triplets; a repeated triplet id; a triplet of another domain or without text; a training
            picture in the gallery of val or test; anything that `validate` refuses.
    """
    where = f"domain '{domain.name}'"
    if not len(domain.train):
        raise UserError(f"{where}: there are no training triplets")
    _unique(f"{where}: triplet id", (triplet.id for triplet in domain.train))
    for triplet in domain.train:
        if triplet.domain != domain.name:
            raise UserError(f"{where}: triplet '{triplet.id}' says that it is of domain '{triplet.domain}'")
        if not triplet.text.strip():
            raise UserError(f"{where}: triplet '{triplet.id}' has no modification text")
    seen = {picture.key for picture in domain.anchors}
    seen |= {extra.picture.key for triplet in domain.train for extra in triplet.extras}
    for split, part in (("val", domain.val), ("test", domain.test)):
        validate(part, f"{where}, {split}")
        _disjoint(f"{where}, {split}", seen, part.gallery.pictures)


def stream_fingerprint(domains: Sequence[Domain], probes: Sequence[Probe] = ()) -> str:
    """The sha256 of every key, text, label, weight and tag of a stream, in its order.

    Pixels count as far as keys name content: two streams that may share cached features need equal keys
    for equal pictures only.
    """
    digest = hashlib.sha256()

    def add(*parts: Any) -> None:
        digest.update(json.dumps(parts).encode() + b"\n")

    for domain in domains:
        add("domain", domain.name)
        for t in domain.train:
            extras = [(e.picture.key, e.label, e.kind, e.scope) for e in t.extras]
            add(t.id, t.reference.key, t.text, t.target.key, t.label, t.domain, extras, t.weight)
        for split, part in (("val", domain.val), ("test", domain.test)):
            protocol, gallery = part.protocol, part.gallery
            add(split, protocol.name, protocol.exclude_reference, protocol.ks, protocol.primary)
            add(gallery.name, [picture.key for picture in gallery.pictures])
            for q in part.queries:
                add(q.id, q.reference.key, q.text, q.targets, sorted(q.tags.items()))
    for probe in probes:
        add(probe.name, probe.kind, [p.key for p in probe.pictures], probe.texts, probe.labels)
    return digest.hexdigest()


def queries_fingerprint(domains: Sequence[Domain], split: str) -> str:
    """The sha256 of the queries of one split and of what they are ranked against, whatever the stream order.

    Two runs of equal fingerprints had the same queries: their scores share the luck of the draw.
    """
    parts = []
    for domain in sorted(domains, key=lambda d: d.name):
        held = {"val": domain.val, "test": domain.test}[split]
        asked = [(q.id, q.reference.key, q.text, q.targets) for q in held.queries]
        parts.append((domain.name, [picture.key for picture in held.gallery.pictures], asked))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _disjoint(where: str, seen: set[str], pictures: Sequence[Picture]) -> None:
    shared = [picture.key for picture in pictures if picture.key in seen]
    if shared:
        raise UserError(
            f"{where}: {len(shared)} of {len(pictures)} gallery pictures are also trained on: {_some(shared)}"
        )


def _unique(what: str, names: Iterable[T]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise UserError(f"{what} '{name}' {count} times; once is allowed")


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f", ... {len(names)} in all" if len(names) > 3 else "")
