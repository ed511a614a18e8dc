"""The records that flow through the house: pictures, triplets, queries, galleries, domains and batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor

__all__ = [
    "Batch",
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
    """One picture, decoded only when asked for.

    Args:
        key: unique name; equal keys are the same picture and are decoded and encoded once.
        load: returns the RGB picture at its native size.
        caption: what it shows, in words, where known.
    """

    key: str
    load: Callable[[], Image.Image] = field(repr=False, compare=False)
    caption: str | None = field(default=None, compare=False)


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
        label: what is asked for. Targets with equal labels answer each other's queries, so that a batch
            never takes a right answer for a negative.
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


@dataclass
class Batch:
    """B triplets, collated. The first B candidates are the targets, E extra candidates follow.

    Shapes: ``reference`` (B, 3, S, S) uint8; ``tokens`` (B, L) int64; ``candidates`` (B + E, 3, S, S) uint8;
    ``positive`` (B, B + E) bool: candidate answers query; ``valid`` (B, B + E) bool: candidate counts for
    query; ``weights`` (B,) float32. ``labels``, ``kinds``, ``owners`` describe the B + E candidates: what
    each shows, ``"target"`` or the type of negative, and the row of the triplet that brought it.
    """

    ids: list[str]
    domains: list[str]
    reference: Tensor
    tokens: Tensor
    candidates: Tensor
    positive: Tensor
    valid: Tensor
    weights: Tensor
    labels: list[str]
    kinds: list[str]
    owners: list[int]
    scopes: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device | str) -> Batch:
        """Move the tensors, without waiting for the copy where the memory is pinned."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Called by a DataLoader with ``pin_memory=True``."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {k: change(v) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **changed)

    def rows(self) -> list[dict[str, Any]]:
        """Split into one plain dict per triplet, each holding all that `from_rows` needs."""
        out: list[dict[str, Any]] = []
        for i in range(len(self)):
            mine = [c for c in range(len(self.owners)) if self.owners[c] == i]
            out.append(
                {
                    "id": self.ids[i],
                    "domain": self.domains[i],
                    "reference": self.reference[i].clone(),
                    "tokens": self.tokens[i].clone(),
                    "weight": float(self.weights[i]),
                    "candidates": self.candidates[mine],
                    "labels": [self.labels[c] for c in mine],
                    "kinds": [self.kinds[c] for c in mine],
                    "scopes": [self.scopes[c] for c in mine],
                }
            )
        return out

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """Join rows of equal picture size and context length; the inverse of `rows`."""
        order = [(i, 0) for i in range(len(rows))]
        order += [(i, c) for i, row in enumerate(rows) for c in range(1, len(row["labels"]))]
        labels = [rows[i]["labels"][c] for i, c in order]
        owners = [i for i, _ in order]
        scopes = [rows[i]["scopes"][c] for i, c in order]
        asked = labels[: len(rows)]
        positive = torch.tensor([[label == wanted for label in labels] for wanted in asked])
        mine = torch.tensor([[owner == i for owner in owners] for i in range(len(rows))])
        shared = torch.tensor([scope == "batch" for scope in scopes])
        return cls(
            ids=[row["id"] for row in rows],
            domains=[row["domain"] for row in rows],
            reference=torch.stack([row["reference"] for row in rows]),
            tokens=torch.stack([row["tokens"] for row in rows]),
            candidates=torch.stack([rows[i]["candidates"][c] for i, c in order]),
            positive=positive,
            valid=mine | shared,
            weights=torch.tensor([row["weight"] for row in rows], dtype=torch.float32),
            labels=labels,
            kinds=[rows[i]["kinds"][c] for i, c in order],
            owners=owners,
            scopes=scopes,
        )
