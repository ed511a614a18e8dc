"""Examples of a training step, joined to columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor

from clplat.data.columns import Along, Column
from clplat.data.inputs import Images, Texts
from clplat.data.stored_rows import today

__all__ = ["Batch"]

T = TypeVar("T")


class _Read(Generic[T]):
    """A column that every batch has, as an attribute."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, batch: Batch, _: type | None = None) -> T:
        return cast(T, batch.columns[self.name].value)


@dataclass
class Batch:
    """B examples with C candidates, as columns: whoever makes a batch may add one, and nothing else changes.

    The first B candidates are the targets, the negatives of the first example follow, then those of the
    second, and so on; ``owners`` (C) says whose each is. Queries and candidates together are the B + C
    *items*: what has a picture is in ``pictures``, what has a text in ``texts``, and `picture_rows` and
    `text_rows` say where. Of triplets every item has a picture, and the texts are those of the B queries. A
    target or a negative of words is an item beyond the first B with a row in ``texts``.

    =============  =========  =================================================================
    column         along      holds
    =============  =========  =================================================================
    ``ids``        example    names of the examples
    ``domains``    example    names of their domains
    ``weights``    example    (B,) float32, of each example in the loss
    ``groups``     example    what each belongs to, by name of the grouping
    ``extra``      example    what was computed of it beforehand, by name
    ``labels``     candidate  what each shows
    ``kinds``      candidate  ``"target"`` or the type of negative
    ``scopes``     candidate  ``"batch"``: every query sees it; ``"anchor"``: its own example's
    ``pictures``   item       `Images`, decoded when their pixels are read
    ``texts``      item       `Texts`
    ``positive``   pair       (B, C) bool: candidate answers query
    ``valid``      pair       (B, C) bool: candidate counts for query
    =============  =========  =================================================================

    A column is read by its name: ``batch["groups"]``; those of every batch are attributes too. `part`,
    `rows`, `from_rows`, `to` and `pin_memory` follow from what a column runs along.
    """

    columns: dict[str, Column[Any]]
    owners: list[int]

    def __post_init__(self) -> None:
        if "positive" not in self.columns:
            self.columns["positive"] = Column(_answers(self.labels, len(self)), "pair")
        if "valid" not in self.columns:
            self.columns["valid"] = Column(_counts(self.owners, self.scopes, len(self)), "pair")

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> Any:
        return self.columns[name].value

    ids = _Read[list[str]]("ids")
    domains = _Read[list[str]]("domains")
    weights = _Read[Tensor]("weights")
    labels = _Read[list[str]]("labels")
    kinds = _Read[list[str]]("kinds")
    scopes = _Read[list[str]]("scopes")
    pictures = _Read[Images]("pictures")
    texts = _Read[Texts]("texts")
    positive = _Read[Tensor]("positive")
    valid = _Read[Tensor]("valid")

    @property
    def picture_rows(self) -> list[int]:
        """The row in ``pictures`` of each of the B + C items, -1 for one without a picture."""
        return self.columns["pictures"].rows

    @property
    def text_rows(self) -> list[int]:
        """The row in ``texts`` of each of the B + C items, -1 for one without a text."""
        return self.columns["texts"].rows

    @property
    def composed(self) -> bool:
        """Every query is a picture with a text and every candidate a picture, as of triplets."""
        count, texts = len(self), self.columns["texts"].index
        if self.columns["pictures"].index is not None or texts is None:
            return False
        return texts[:count] == list(range(count)) and not any(row >= 0 for row in texts[count:])

    @property
    def reference(self) -> Tensor:
        """Pixels of the queries' pictures (B, 3, S, S), uint8; every query must have one."""
        return self._pixels(range(len(self)))

    @property
    def candidates(self) -> Tensor:
        """Pixels of the candidates (C, 3, S, S), uint8; every candidate must have a picture."""
        return self._pixels(range(len(self), len(self) + len(self.owners)))

    def _pixels(self, items: range) -> Tensor:
        pixels = self.pictures.pixels
        if self.columns["pictures"].index is None:
            return pixels[items.start : items.stop]
        rows = [self.picture_rows[i] for i in items]
        if -1 in rows:
            raise ValueError(f"{rows.count(-1)} of {len(rows)} items of this batch have no picture")
        return pixels[rows]

    @property
    def tokens(self) -> Tensor:
        """Token ids of the queries' texts (B, L), int64; every query must have one."""
        rows = self.text_rows[: len(self)]
        if -1 in rows:
            raise ValueError(f"{rows.count(-1)} of {len(rows)} queries of this batch have no text")
        ids = self.texts.ids
        return ids if rows == list(range(len(ids))) else ids[rows]

    def loaded(self) -> Batch:
        """This batch with its pixels decoded now, in the calling process, such as a loader's."""
        _ = self.pictures.pixels
        return self

    def to(self, device: torch.device | str) -> Batch:
        """Move the tensors, without waiting for the copy where the memory is pinned."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Called by a DataLoader with ``pin_memory=True``."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch({name: column.mapped(change) for name, column in self.columns.items()}, self.owners)

    def candidates_of(self, rows: Sequence[int]) -> list[int]:
        """Positions of these examples' candidates among all: their targets, then their negatives."""
        chosen = set(rows)
        return [*rows, *(c for c in range(len(self), len(self.owners)) if self.owners[c] in chosen)]

    def part(self, rows: Sequence[int]) -> Batch:
        """The batch of these examples alone, with their own candidates, in the order of `candidates_of`."""
        rows, candidates = list(rows), self.candidates_of(rows)
        places: dict[Along, list[int]] = {
            "example": rows,
            "candidate": candidates,
            "item": [*rows, *(len(self) + c for c in candidates)],
        }
        columns: dict[str, Column[Any]] = {}
        for name, column in self.columns.items():
            if column.along == "pair":
                columns[name] = replace(column, value=column.value[rows][:, candidates])
            else:
                columns[name] = column.part(places[column.along])
        owner = {row: i for i, row in enumerate(rows)}
        return Batch(columns, [owner[self.owners[c]] for c in candidates])

    def rows(self) -> list[dict[str, Any]]:
        """Split into plain data of each example, from which `from_rows` joins batches.

        What relates an example to candidates of others is not kept with it: masks are made anew.
        """
        own: list[list[int]] = [[] for _ in range(len(self))]
        for candidate, owner in enumerate(self.owners):
            own[owner].append(candidate)
        plain = self._mapped(lambda tensor: tensor.detach().cpu())
        return [plain._row(i, mine) for i, mine in enumerate(own)]

    def _row(self, example: int, candidates: Sequence[int]) -> dict[str, Any]:
        items = [example, *(len(self) + c for c in candidates)]
        places = {"example": [example], "candidate": candidates, "item": items}
        return {
            along: {name: c.kept(chosen) for name, c in self.columns.items() if c.along == along}
            for along, chosen in places.items()
        }

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Batch:
        """Join rows of equal columns, picture size and context length; the inverse of `rows`.

        Raises:
            ValueError: rows of batches with different columns.
        """
        rows = [today(row) for row in rows]
        extras = [(i, c) for i, row in enumerate(rows) for c in range(1, len(row["candidate"]["labels"]))]
        first = [(i, 0) for i in range(len(rows))]
        candidates = first + extras
        items = first + [(i, 1 + c) for i, c in candidates]
        tables: list[tuple[Along, list[tuple[int, int]]]]
        tables = [("example", first), ("candidate", candidates), ("item", items)]
        columns: dict[str, Column[Any]] = {}
        for along, chosen in tables:
            names = {frozenset(row[along]) for row in rows}
            if len(names) > 1:
                raise ValueError(f"rows of different columns: {sorted(map(sorted, names))}")
            for name in rows[0][along]:
                columns[name] = Column.restored([row[along][name] for row in rows], chosen, along)
        return cls(columns, [i for i, _ in candidates])


def _answers(labels: Sequence[str], count: int) -> Tensor:
    number = {label: n for n, label in enumerate(dict.fromkeys(labels))}
    shows = torch.tensor([number[label] for label in labels])
    return shows[:count, None] == shows


def _counts(owners: Sequence[int], scopes: Sequence[str], count: int) -> Tensor:
    shared = torch.tensor([scope == "batch" for scope in scopes])
    return (torch.tensor(owners) == torch.arange(count)[:, None]) | shared
