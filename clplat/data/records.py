"""The records of a stream: pictures, triplets, queries, galleries, domains and probes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

__all__ = [
    "Candidate",
    "Domain",
    "Gallery",
    "Picture",
    "Probe",
    "Protocol",
    "Query",
    "RetrievalSet",
    "Triplet",
]


@dataclass(frozen=True)
class Picture:
    """One picture, decoded only when its pixels are read.

    Args:
        key: unique name of the *content*; equal keys are the same picture, on this machine for good: what was
            computed from it is kept on disk under its key. Where files may change, let the key hold a digest.
        load: returns the RGB picture at its native size.
        caption: what it shows, in words, where known.
        once: it was drawn at random and will not come back: nothing of it is worth keeping.
    """

    key: str
    load: Callable[[], Image.Image] = field(repr=False, compare=False)
    caption: str | None = field(default=None, compare=False)
    once: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Candidate:
    """An extra candidate of a triplet beside its target: a typed hard negative or a further positive.

    Args:
        picture: the candidate.
        label: what it shows; a candidate whose label equals a query's label answers that query.
        kind: type of the negative, e.g. ``"near_miss"``; logged and selectable.
        scope: ``"batch"`` lets every query of the batch see it, ``"anchor"`` only its own triplet.
    """

    picture: Picture
    label: str
    kind: str = "near_miss"
    scope: Literal["batch", "anchor"] = "batch"


@dataclass(frozen=True)
class Triplet:
    """A training example: reference picture + modification text -> target picture.

    Args:
        id: unique in its domain; named when a loss is not finite.
        label: what the answer must show. Targets with equal labels answer each other's queries, so that a
            batch never takes a right answer for a negative.
        extras: further candidates (typed negatives, more positives).
        weight: of this pair in the loss.
    """

    id: str
    reference: Picture
    text: str
    target: Picture
    label: str
    domain: str
    extras: tuple[Candidate, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True)
class Query:
    """An evaluation query. ``targets`` are the keys of all right answers in the gallery.

    ``tags`` split the results, e.g. ``{"combination": "unseen"}``.
    """

    id: str
    reference: Picture
    text: str
    targets: tuple[str, ...]
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Gallery:
    """The pictures that queries are ranked against. Galleries of equal name hold the same pictures."""

    name: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Protocol:
    """How a number was made: named, logged and hashed with every result.

    Args:
        name: e.g. ``"catalogue/near-miss"``.
        exclude_reference: the query's own reference picture is no candidate.
        ks: the cut-offs of R@K and mAP@K.
        primary: the metric that comparisons and R heat maps show, e.g. ``"R@5"`` or ``"mAP@10"``.
    """

    name: str
    exclude_reference: bool = True
    ks: tuple[int, ...] = (1, 5, 10)
    primary: str = "R@5"


@dataclass(frozen=True)
class RetrievalSet:
    """Queries and the gallery that they are ranked against, under a protocol."""

    queries: tuple[Query, ...]
    gallery: Gallery
    protocol: Protocol


@dataclass(frozen=True)
class Probe:
    """Zero-shot data outside the stream.

    ``kind="retrieval"``: ``texts[i]`` is the caption of ``pictures[i]``.
    ``kind="classification"``: ``texts`` are the class prompts and ``labels[i]`` the class of picture i.
    """

    name: str
    kind: Literal["retrieval", "classification"]
    pictures: tuple[Picture, ...]
    texts: tuple[str, ...]
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Domain:
    """One step of the stream: training triplets, and queries with their gallery for validation and test.

    ``anchors`` are training pictures on which projections between model versions may be fitted.
    """

    name: str
    train: Sequence[Triplet]
    val: RetrievalSet
    test: RetrievalSet

    @property
    def anchors(self) -> list[Picture]:
        """The distinct training pictures, in order of first use."""
        pictures = {p.key: p for triplet in self.train for p in (triplet.reference, triplet.target)}
        return list(pictures.values())
