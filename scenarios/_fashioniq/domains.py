"""Domains of FashionIQ: a category each, or all as one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from clplat.data.picture_files import PictureFiles
from clplat.data.records import Domain, Example, Gallery, Picture, Protocol, Query, RetrievalSet, Triplet

from .annotations import Annotations, forms, texts_of

__all__ = ["category_domain", "one_domain"]


def category_domain(
    read: Annotations, files: PictureFiles, category: str, protocols: Sequence[str], hidden: bool
) -> Domain:
    """One category: its triplets, and its queries under each protocol.

    Args:
        read: the annotations.
        files: the pictures.
        category: whose domain.
        protocols: as ``<gallery>/<captions>``; the first is the one of ``val`` and of training texts.
        hidden: the official test queries as well.
    """
    main, *also = protocols
    sets = {"val": _asked(read, files, category, "val", main)}
    if hidden:
        sets["test"] = _asked(read, files, category, "test", main)
    sets |= {f"val/{name.replace('/', '-')}": _asked(read, files, category, "val", name) for name in also}
    return Domain(category, _triplets(read, files, category, main.partition("/")[2]), sets=sets)


def one_domain(domains: Sequence[Domain], shared: Collection[str]) -> tuple[Domain, int]:
    """All categories as one domain: one gallery for all, the sets of each category beside it.

    Args:
        domains: of the categories.
        shared: pictures that train one category and stand in the gallery of another.

    Returns:
        The domain, and the number of training triplets that ``shared`` takes along.
    """
    train = [
        replace(example, domain="fashioniq")
        for domain in domains
        for example in domain.train
        if not any(picture.key in shared for picture in _pictures(example))
    ]
    sets = {split: _union([domain.sets[split] for domain in domains]) for split in domains[0].sets}
    for domain in domains:
        for split, held in domain.sets.items():
            main, _, more = split.partition("/")
            sets["/".join((main, domain.name, *([more] if more else [])))] = held
    return Domain("fashioniq", train, sets=sets), sum(len(domain.train) for domain in domains) - len(train)


def _union(held: Sequence[RetrievalSet]) -> RetrievalSet:
    items = {item.key: item for one in held for item in one.gallery.items}
    which, _, split = held[0].gallery.name.split("/")
    gallery = Gallery(f"{which}-union/{split}", list(items.values()))
    protocol = replace(held[0].protocol, name=held[0].protocol.name.replace("/", "-union/"))
    return replace(
        held[0], queries=tuple(q for one in held for q in one.queries), gallery=gallery, protocol=protocol
    )


def _pictures(example: Example) -> list[Picture]:
    return [item.picture for item in example.items if item.picture is not None]


def _triplets(read: Annotations, files: PictureFiles, category: str, join: str) -> list[Example]:
    made = []
    for i, entry in enumerate(read.entries(category, "train")):
        assert "target" in entry
        reference, target = files.picture(entry["candidate"]), files.picture(entry["target"])
        drawn = forms(entry["captions"]) if join == "clip4cir" else []
        for k, texts in enumerate(texts_of(entry["captions"], join)):
            name = f"{category}/train/{i:05d}" + (f"/{k}" if join == "separate" else "")
            phrasings = drawn or (list(texts) if len(texts) > 1 else [])
            extra = {"phrasings": phrasings} if phrasings else None
            made.append(Triplet(name, reference, texts[0], target, target.key, category, extra=extra))
    return made


def _asked(read: Annotations, files: PictureFiles, category: str, split: str, protocol: str) -> RetrievalSet:
    which, join = protocol.split("/")
    which = "original" if split == "test" else which  # the targets of test are not known
    queries = []
    for i, entry in enumerate(read.entries(category, split)):
        targets = (files.picture(entry["target"]).key,) if "target" in entry else ()
        reference = files.picture(entry["candidate"])
        for k, (text, *texts) in enumerate(texts_of(entry["captions"], join)):
            name = f"{category}/{split}/{i:05d}" + (f"/{k}" if join == "separate" else "")
            queries.append(Query(name, reference, text, targets, texts=tuple(texts)))
    gallery = Gallery(
        f"fashioniq-{which}/{category}/{split}", pictures=files.pictures(read.gallery(category, split, which))
    )
    measured = Protocol(
        f"fashioniq-{which}/{join}",
        exclude_reference=False,
        metrics=("R@10", "R@50"),
        primary="mean(R@10, R@50)",
    )
    return RetrievalSet(tuple(queries), gallery, measured, "hidden" if split == "test" else "known")
