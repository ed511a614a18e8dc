"""Domains of captioned pictures -> training pairs, and retrieval in both directions from two galleries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice

from clplat.data.folders import stable_hash
from clplat.data.items import Item
from clplat.data.records import Domain, Example, Gallery, Pair, Protocol, Query, RetrievalSet
from clplat.data.validate import validate_domain
from clplat.errors import UserError

from .domains import Held

__all__ = ["DIRECTIONS", "captioned_domains", "chosen"]

#: Words ask and pictures answer, and the other way round.
DIRECTIONS = ("t2i", "i2t")


def chosen(rows: Sequence[Held], most: int | None) -> list[Held]:
    """At most so many, by a hash of their keys, in their order."""
    if most is None or len(rows) <= most:
        return list(rows)
    order = sorted(range(len(rows)), key=lambda i: stable_hash("chosen", rows[i].picture.key))
    return [rows[i] for i in sorted(order[:most])]


def captioned_domains(
    domains: Mapping[str, Sequence[Held]],
    first: tuple[str, str],
    train: int | None,
    queries: int | None,
    captions: int | None,
) -> list[Domain]:
    """The stream.

    Args:
        domains: name -> pictures, in stream order.
        first: the direction and the gallery, ``"domain"`` or ``"union"``, that ``val`` and ``test`` are of;
            the others stand beside them as ``test/i2t``, ``test/t2i-union`` and so on.
        train: the most training pictures per domain.
        queries: the most pictures per domain and split that are ranked.
        captions: the most captions of a picture that are trained on.

    Raises:
        UserError: a domain has no picture in ``train`` or in ``test``; as `validate_domain`.
    """
    asked: dict[str, dict[str, list[Held]]] = {"val": {}, "test": {}}
    for split, held in asked.items():
        for name, rows in domains.items():
            if own := chosen([row for row in rows if row.split == split], queries):
                held[name] = own
    union = {
        (split, direction): _gallery(f"union/{split}", [r for rows in held.values() for r in rows], direction)
        for split, held in asked.items()
        for direction in DIRECTIONS
    }
    built = []
    for name, rows in domains.items():
        sets = {}
        for split, held in asked.items():
            if name not in held:
                continue
            for direction in DIRECTIONS:
                said = _queries(held[name], direction)
                galleries = {"domain": _gallery(f"{name}/{split}", held[name], direction)}
                if len(domains) > 1:
                    galleries["union"] = union[split, direction]
                for kind, gallery in galleries.items():
                    where = _set_name(split, direction, kind, first)
                    sets[where] = RetrievalSet(said, gallery, _protocol(direction, kind))
        learnt = chosen([row for row in rows if row.split == "train"], train)
        for split, there in (("train", learnt), ("test", asked["test"].get(name))):
            if not there:
                raise UserError(f"domain '{name}' has no picture in {split}")
        built.append(Domain(name, _pairs(name, learnt, captions), sets=sets))
        validate_domain(built[-1])
    return built


def _set_name(split: str, direction: str, kind: str, first: tuple[str, str]) -> str:
    if (direction, kind) == first:
        return split
    return f"{split}/{direction}" if kind == first[1] else f"{split}/{direction}-{kind}"


def _protocol(direction: str, kind: str) -> Protocol:
    metrics = ("R@1", "R@5", "R@10")
    return Protocol(f"captioned/{direction}/{kind}", exclude_reference=False, metrics=metrics, primary="R@1")


def _caption_keys(row: Held) -> list[str]:
    return [f"{row.picture.key}#{i}" for i in range(len(row.said.texts))]


def _gallery(name: str, rows: Sequence[Held], direction: str) -> Gallery:
    if direction == "t2i":
        return Gallery(f"{name}/pictures", pictures=[row.picture for row in rows])
    items = [
        Item(key, text=text)
        for row in rows
        for key, text in zip(_caption_keys(row), row.said.texts, strict=True)
    ]
    return Gallery(f"{name}/captions", items)


def _queries(rows: Sequence[Held], direction: str) -> tuple[Query, ...]:
    if direction == "i2t":
        return tuple(Query(row.picture.key, row.picture, None, tuple(_caption_keys(row))) for row in rows)
    return tuple(
        Query(key, None, text, (row.picture.key,))
        for row in rows
        for key, text in zip(_caption_keys(row), row.said.texts, strict=True)
    )


def _pairs(domain: str, rows: Sequence[Held], most: int | None) -> tuple[Example, ...]:
    """A pair per caption; captions of one picture answer each other's pictures in a batch."""
    return tuple(
        Pair(key, row.picture, Item.of(text=text), domain, label=_label(row))
        for row in rows
        for key, text in islice(zip(_caption_keys(row), row.said.texts, strict=True), most)
    )


def _label(row: Held) -> str:
    return row.said.texts[0] if len(row.said.texts) == 1 else row.picture.key
