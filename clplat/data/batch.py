"""Triplets of a training step, collated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from clplat.data.inputs import Images, Texts

__all__ = ["Batch"]


@dataclass
class Batch:
    """B triplets, collated. The first B candidates are the targets, E extra candidates follow.

    ``pictures`` holds the B references and then the B + E candidates; their pixels are decoded when
    ``reference`` (B, 3, S, S) or ``candidates`` (B + E, 3, S, S) is read. ``texts`` holds the token ids,
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
