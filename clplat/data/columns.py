"""A column of a batch: what it holds and runs along; all that is done to a batch follows from that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor

from clplat.data.inputs import Images, Texts

__all__ = ["Along", "Column"]

#: What the entries of a column belong to: the B examples; the C candidates; the B + C items, which are the
#: queries and then the candidates; or, for a matrix (B, C), both.
Along = Literal["example", "candidate", "item", "pair"]
V = TypeVar("V", bound="Tensor | list[Any] | Images | Texts")


@dataclass
class Column(Generic[V]):
    """One entry for each example, candidate or item of a batch.

    Args:
        value: a tensor whose first dimension runs along, a list, `Images` or `Texts`.
        along: see `Along`.
        index: place -> row of ``value``, -1 where nothing is there; several places may share a row. None:
            row i belongs to place i.

    Example:
        >>> Column(Texts(torch.tensor([[1, 2]])), "item", index=[0, -1]).rows
        [0, -1]
    """

    value: V
    along: Along = "example"
    index: list[int] | None = None

    @property
    def rows(self) -> list[int]:
        """The row of ``value`` at every place, -1 where nothing is there."""
        return list(range(len(self.value))) if self.index is None else self.index

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Column[Any]:
        """With changed tensors: moved to a device, pinned."""
        value: Any = self.value
        if isinstance(value, list):
            return self
        return Column(
            change(value) if isinstance(value, Tensor) else value.mapped(change), self.along, self.index
        )

    def part(self, places: Sequence[int]) -> Column[Any]:
        """The column at these places, in their order; rows that no place has are left out."""
        if self.index is None:
            return replace(self, value=_rows(self.value, places))
        chosen = [self.index[place] for place in places]
        row = {old: new for new, old in enumerate(dict.fromkeys(i for i in chosen if i >= 0))}
        return replace(self, value=_rows(self.value, list(row)), index=[row.get(i, -1) for i in chosen])

    def kept(self, places: Sequence[int]) -> Any:
        """The entries at these places as plain data, None where nothing is there; `restored` reads it."""
        held, value = list(places) if self.index is None else [self.index[i] for i in places], self.value
        if isinstance(value, list):
            return [value[i] if i >= 0 else None for i in held]
        if isinstance(value, Images):
            names = [value.names[i] if i >= 0 else None for i in held]
            return {"names": names, "pixels": _tensors(value.pixels, held), "kind": value.kind}
        if isinstance(value, Texts):
            return {
                "ids": _tensors(value.ids, held),
                "said": [value.said[i] if i >= 0 else None for i in held],
            }
        return {"rows": _tensors(value, held)}

    @classmethod
    def restored(cls, kept: Sequence[Any], places: Sequence[tuple[int, int]], along: Along) -> Column[Any]:
        """A column of what `kept` gave several times.

        Args:
            kept: what each call gave.
            places: of every place of the new column, the call and the entry in it.
            along: what the new column runs along.
        """
        first = kept[0]
        table = [one if isinstance(one, list) else one[_ENTRIES[frozenset(first)]] for one in kept]
        entries = [table[i][k] for i, k in places]
        index = None
        if any(entry is None for entry in entries):
            number = count()
            index = [-1 if entry is None else next(number) for entry in entries]
            places = [place for place, row in zip(places, index, strict=True) if row >= 0]
            entries = [entry for entry in entries if entry is not None]
        value: Any = entries
        if not isinstance(first, list):
            value = _images(kept, places) if "kind" in first else _stacked(entries)
            value = _texts(value, kept, places) if "ids" in first else value
        return cls(value, along, index)


#: The list with an entry for each place in what `Column.kept` gives, by its keys.
_ENTRIES = {
    frozenset({"names", "pixels", "kind"}): "names",
    frozenset({"ids", "said"}): "ids",
    frozenset({"ids"}): "ids",  # as releases before kept texts
    frozenset({"rows"}): "rows",
}


def _rows(value: Any, rows: Sequence[int]) -> Any:
    if isinstance(value, Tensor):
        return value[list(rows)]
    return [value[i] for i in rows] if isinstance(value, list) else value.part(rows)


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    return torch.stack(list(rows)) if rows else torch.zeros(0, dtype=torch.int64)


def _tensors(value: Tensor, rows: Sequence[int]) -> list[Tensor | None]:
    # Copies: a view would keep the whole batch in memory for one stored row.
    return [value[i].clone() if i >= 0 else None for i in rows]


def _texts(ids: Tensor, kept: Sequence[Any], places: Sequence[tuple[int, int]]) -> Texts:
    """Texts with their words, which composers may read; those kept without them are known by their ids."""
    known = Texts(ids)
    said = [
        kept[i]["said"][k] if "said" in kept[i] else name
        for (i, k), name in zip(places, known.names, strict=True)
    ]
    return Texts(ids, known.names, said)


def _images(kept: Sequence[Any], places: Sequence[tuple[int, int]]) -> Images:
    """Pictures whose pixels are stacked when they are read: where features are kept, they never are."""

    def load(wanted: Sequence[int], _: bool) -> Tensor:
        return _stacked([kept[i]["pixels"][k] for i, k in (places[place] for place in wanted)])

    kinds = {one["kind"] for one in kept}
    return Images([kept[i]["names"][k] for i, k in places], load, kinds.pop() if len(kinds) == 1 else "")
