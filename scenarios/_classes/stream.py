"""Labelled sets -> domains: a picture asks, and the prompts of the classes answer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from clplat.data.folders import stable_hash
from clplat.data.items import Item
from clplat.data.records import Domain, Example, Gallery, Pair, Protocol, Query, RetrievalSet
from clplat.data.validate import validate_domain
from clplat.errors import UserError

from .sets import LabelledSet, Shown

__all__ = ["PROTOCOLS", "Part", "class_domains", "parts_of"]

#: Which prompts a picture is asked of, and what that is called.
PROTOCOLS = {
    among: Protocol(
        f"classification/{among}-classes", exclude_reference=False, metrics=("R@1", "R@5"), primary="R@1"
    )
    for among in ("own", "all")
}


@dataclass(frozen=True)
class Part:
    """Some classes of a set: what a domain is made of.

    Args:
        name: of the domain.
        held: the whole set.
        labels: the places of its own classes.
    """

    name: str
    held: LabelledSet
    labels: tuple[int, ...]

    @property
    def prompts(self) -> list[Item]:
        """One entry of a gallery per class."""
        return [self.held.prompt(label) for label in self.labels]

    def pictures(self, split: str, most: int | None) -> list[Shown]:
        """Those of its classes, at most so many: then equally many of each class, chosen by their names."""
        own = set(self.labels)
        shown = [one for one in self.held.splits.get(split, ()) if one[1] in own]
        if most is None or len(shown) <= most:
            return shown
        rank: dict[int, int] = {}
        order: list[tuple[int, int]] = []
        for place in sorted(range(len(shown)), key=lambda i: stable_hash("chosen", shown[i][0].key)):
            label = shown[place][1]
            rank[label] = rank.get(label, -1) + 1
            order.append((rank[label], place))
        return [shown[i] for i in sorted(place for _, place in sorted(order)[:most])]


def parts_of(held: LabelledSet, experiences: int, shuffle: int | None) -> list[Part]:
    """Split a set by classes.

    Args:
        held: the set.
        experiences: how many parts; the first ones have a class more where the classes do not come out even.
        shuffle: seed of the order of the classes; None for the source's.

    Raises:
        UserError: fewer classes than parts.
    """
    labels = list(range(len(held.titles)))
    if experiences > len(labels):
        raise UserError(f"{held.name} has {len(labels)} classes, too few for {experiences} domains")
    if experiences == 1:
        return [Part(held.name, held, tuple(labels))]
    if shuffle is not None:
        random.Random(stable_hash("classes", held.name, shuffle)).shuffle(labels)
    size, more = divmod(len(labels), experiences)
    ends = [size * i + min(i, more) for i in range(experiences + 1)]
    width = len(str(experiences))
    return [
        Part(f"{held.name}-{i + 1:0{width}d}", held, tuple(labels[ends[i] : ends[i + 1]]))
        for i in range(experiences)
    ]


def class_domains(
    parts: Sequence[Part], among: str, train: int | None = None, queries: int | None = None
) -> list[Domain]:
    """The stream: each part's pictures, asked of its own classes and of those of all parts.

    Args:
        parts: in stream order.
        among: ``"own"`` or ``"all"``: which of the two is ``test``; the other is ``test/<its name>``.
        train: the most training pictures per domain.
        queries: the most queries per domain and split.

    Raises:
        UserError: as `validate_domain`.
    """
    everything = Gallery("all/prompts", [prompt for part in parts for prompt in part.prompts])
    domains = []
    for part in parts:
        own = Gallery(f"{part.name}/prompts", part.prompts)
        galleries = {"own": own, "all": everything} if len(parts) > 1 else {"own": own}
        first = among if among in galleries else "own"
        sets = {}
        for split in ("val", "test"):
            asked = tuple(
                Query(picture.key, picture, None, (part.held.key(label),))
                for picture, label in part.pictures(split, queries)
            )
            for name, gallery in galleries.items() if split in part.held.splits else ():
                sets[split if name == first else f"{split}/{name}"] = RetrievalSet(
                    asked, gallery, PROTOCOLS[name]
                )
        domains.append(Domain(part.name, _examples(part, train), sets=sets))
        validate_domain(domains[-1])
    return domains


def _examples(part: Part, most: int | None) -> tuple[Example, ...]:
    said = {label: Item(part.held.key(label), text=part.held.prompt(label).text) for label in part.labels}
    return tuple(
        Pair(picture.key, picture, said[label], part.name, label=part.held.key(label))
        for picture, label in part.pictures("train", most)
    )
