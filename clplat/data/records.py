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
    "Images",
    "Picture",
    "Probe",
    "Protocol",
    "Query",
    "RetrievalSet",
    "Texts",
    "Triplet",
]


@dataclass(frozen=True)
class Picture:
    """One picture, decoded only when asked for.

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


class Images:
    """Pictures by name, and their pixels only when somebody asks: what is cached is never decoded.

    Args:
        names: N keys; equal keys of one ``kind`` are the same pixels.
        load: positions -> their pixels (n, 3, S, S), uint8. The second argument says whether they will be
            asked for again, so that it pays to keep them.
        kind: how pictures became pixels; empty where that is not known: nothing is then kept of them.

    Example:
        >>> pictures = Images.of(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), names=["a", "b"])
        >>> len(pictures), pictures.part([1]).names
        (2, ['b'])
    """

    def __init__(
        self, names: Sequence[str], load: Callable[[Sequence[int], bool], Tensor], kind: str = ""
    ) -> None:
        self.names, self.kind, self._load = list(names), kind, load
        self._pixels: Tensor | None = None

    @classmethod
    def of(cls, pixels: Tensor, names: Sequence[str] = (), kind: str = "") -> Images:
        """Pictures whose pixels (N, 3, S, S) are there already."""
        images = cls(names or [""] * len(pixels), lambda rows, _: pixels[list(rows)], kind)
        images._pixels = pixels
        return images

    def __len__(self) -> int:
        return len(self.names)

    @property
    def loaded(self) -> bool:
        """Whether the pixels are at hand."""
        return self._pixels is not None

    @property
    def pixels(self) -> Tensor:
        """All pixels (N, 3, S, S); decoded at the first call, then kept."""
        if self._pixels is None:
            self._pixels = self._load(range(len(self)), True)
        return self._pixels

    def at(self, rows: Sequence[int], again: bool = True) -> Tensor:
        """Pixels of a few; ``again``: they will be asked for in later passes too."""
        return self._pixels[list(rows)] if self._pixels is not None else self._load(rows, again)

    def part(self, rows: Sequence[int]) -> Images:
        """The pictures at these positions."""
        rows = list(rows)
        names = [self.names[i] for i in rows]
        part = Images(names, lambda own, again: self.at([rows[i] for i in own], again), self.kind)
        if self._pixels is not None:
            part._pixels = self._pixels[rows]
        return part

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Images:
        """The same pictures with changed pixels: moved to a device, pinned."""
        moved = Images(self.names, lambda rows, again: change(self._load(rows, again)), self.kind)
        moved._pixels = change(self._pixels) if self._pixels is not None else None
        return moved

    def __reduce__(self) -> tuple[Any, ...]:
        # What loads them may not be sendable to another process: their pixels are.
        return Images.of, (self.pixels, self.names, self.kind)


class Texts:
    """Token ids (N, L) of texts on any device, and a name for each that says all that a tower sees of it.

    Example:
        >>> Texts(torch.tensor([[7, 5, 9, 0, 0]])).names
        ['7 5 9 0']
    """

    def __init__(self, ids: Tensor, names: Sequence[str] = ()) -> None:
        self.ids = ids
        self.names = list(names) or [_text_name(row) for row in ids.tolist()]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text up to its EOT, or one more; known without reading from a device."""
        return [name.count(" ") + 1 for name in self.names]

    def part(self, rows: Sequence[int]) -> Texts:
        """The texts at these positions."""
        return Texts(self.ids[list(rows)], [self.names[i] for i in rows])

    def to(self, device: torch.device | str) -> Texts:
        """Move the ids."""
        return Texts(self.ids.to(device, non_blocking=True), self.names)


def _text_name(ids: list[int]) -> str:
    """The ids with the padding at the end written once; rows of one length stay distinct."""
    end = len(ids)
    while end > 1 and ids[end - 2] == ids[-1]:
        end -= 1
    return " ".join(map(str, ids[:end]))


@dataclass
class Batch:
    """B triplets, collated. The first B candidates are the targets, E extra candidates follow.

    ``pictures`` holds the B references and then the B + E candidates; their pixels are decoded when
    ``reference`` (B, 3, S, S) or ``candidates`` (B + E, 3, S, S) is asked for. ``texts`` holds the token ids,
    ``tokens`` (B, L) int64.

    Shapes: ``positive`` (B, B + E) bool: candidate answers query; ``valid`` (B, B + E) bool: candidate counts
    for query; ``weights`` (B,) float32. ``labels``, ``kinds``, ``owners`` describe the B + E candidates: what
    each shows, ``"target"`` or the type of negative, and the row of the triplet that brought it.
    """

    ids: list[str]
    domains: list[str]
    pictures: Images
    texts: Texts
    positive: Tensor
    valid: Tensor
    weights: Tensor
    labels: list[str]
    kinds: list[str]
    owners: list[int]
    scopes: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def reference(self) -> Tensor:
        """Pixels of the reference pictures (B, 3, S, S), uint8."""
        return self.pictures.pixels[: len(self)]

    @property
    def candidates(self) -> Tensor:
        """Pixels of the candidates (B + E, 3, S, S), uint8."""
        return self.pictures.pixels[len(self) :]

    @property
    def tokens(self) -> Tensor:
        """Token ids (B, L), int64."""
        return self.texts.ids

    def loaded(self) -> Batch:
        """This batch with its pixels decoded now, by whoever calls: a loader's process, say."""
        _ = self.pictures.pixels
        return self

    def to(self, device: torch.device | str) -> Batch:
        """Move the tensors, without waiting for the copy where the memory is pinned."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Called by a DataLoader with ``pin_memory=True``."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {k: change(v) for k, v in vars(self).items() if isinstance(v, Tensor)}
        changed["texts"] = Texts(change(self.texts.ids), self.texts.names)
        return replace(self, pictures=self.pictures.mapped(change), **changed)

    def columns(self, rows: Sequence[int]) -> list[int]:
        """Positions of these triplets' candidates among all: their targets, then their extras."""
        chosen = set(rows)
        return [*rows, *(c for c in range(len(self), len(self.owners)) if self.owners[c] in chosen)]

    def part(self, rows: Sequence[int]) -> Batch:
        """The batch of these triplets alone, with their own candidates, in the order of `columns`."""
        rows, columns = list(rows), self.columns(rows)
        place = {row: i for i, row in enumerate(rows)}
        return Batch(
            ids=[self.ids[i] for i in rows],
            domains=[self.domains[i] for i in rows],
            pictures=self.pictures.part([*rows, *(len(self) + c for c in columns)]),
            texts=self.texts.part(rows),
            positive=self.positive[rows][:, columns],
            valid=self.valid[rows][:, columns],
            weights=self.weights[rows],
            labels=[self.labels[c] for c in columns],
            kinds=[self.kinds[c] for c in columns],
            owners=[place[self.owners[c]] for c in columns],
            scopes=[self.scopes[c] for c in columns],
        )

    def rows(self) -> list[dict[str, Any]]:
        """Split into one plain dict per triplet, each holding all that `from_rows` needs."""
        out: list[dict[str, Any]] = []
        count, pixels, weights = len(self), self.pictures.pixels, self.weights.tolist()
        mine: list[list[int]] = [[] for _ in range(count)]
        for column, owner in enumerate(self.owners):
            mine[owner].append(column)
        for i in range(count):
            own = [count + c for c in mine[i]]
            out.append(
                {
                    "id": self.ids[i],
                    "domain": self.domains[i],
                    "reference": pixels[i].clone(),
                    "tokens": self.tokens[i].clone(),
                    "weight": weights[i],
                    "candidates": pixels[own],
                    "labels": [self.labels[c] for c in mine[i]],
                    "kinds": [self.kinds[c] for c in mine[i]],
                    "scopes": [self.scopes[c] for c in mine[i]],
                    "names": [self.pictures.names[c] for c in (i, *own)],
                    "picture_kind": self.pictures.kind,
                }
            )
        return out

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """Join rows of equal picture size and context length; the inverse of `rows`."""
        order = _candidate_order(rows)
        held = [(i, 0) for i in range(len(rows))] + [(i, 1 + c) for i, c in order]

        def load(wanted: Sequence[int], _: bool) -> Tensor:
            chosen = [(rows[i], c) for i, c in (held[place] for place in wanted)]
            return torch.stack([row["candidates"][c - 1] if c else row["reference"] for row, c in chosen])

        kinds = {row["picture_kind"] for row in rows}
        return cls.joined(
            rows,
            Images([rows[i]["names"][c] for i, c in held], load, kinds.pop() if len(kinds) == 1 else ""),
            torch.stack([row["tokens"] for row in rows]),
        )

    @classmethod
    def joined(cls, rows: Sequence[Mapping[str, Any]], pictures: Images, tokens: Tensor) -> Batch:
        """A batch from what `rows` says of each triplet, its pictures and its token ids.

        Args:
            rows: of each triplet ``id``, ``domain``, ``weight`` and the ``labels``, ``kinds`` and ``scopes``
                of its candidates, its target first.
            pictures: all references, all targets, then the extras of the first triplet, the second, ...
            tokens: (B, L) ids.
        """
        order = _candidate_order(rows)
        labels = [rows[i]["labels"][c] for i, c in order]
        scopes = [rows[i]["scopes"][c] for i, c in order]
        number = {label: n for n, label in enumerate(dict.fromkeys(labels))}
        shows, owners = torch.tensor([number[label] for label in labels]), torch.tensor([i for i, _ in order])
        shared = torch.tensor([scope == "batch" for scope in scopes])
        count = len(rows)
        return cls(
            ids=[row["id"] for row in rows],
            domains=[row["domain"] for row in rows],
            pictures=pictures,
            texts=Texts(tokens),
            positive=shows[:count, None] == shows,
            valid=(owners == torch.arange(count)[:, None]) | shared,
            weights=torch.tensor([row["weight"] for row in rows], dtype=torch.float32),
            labels=labels,
            kinds=[rows[i]["kinds"][c] for i, c in order],
            owners=owners.tolist(),
            scopes=scopes,
        )


def _candidate_order(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """(triplet, its candidate) of every column: all targets, then the extras triplet by triplet."""
    extras = [(i, c) for i, row in enumerate(rows) for c in range(1, len(row["labels"]))]
    return [(i, 0) for i in range(len(rows))] + extras
