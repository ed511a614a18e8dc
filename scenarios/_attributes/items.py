"""Items of a shop: their values, domain and split, read from rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from clplat.data.folders import SPLITS, stable_hash
from clplat.errors import UserError

from .rows import Row

__all__ = ["Columns", "Combination", "ShopItem", "in_periods", "read_items"]

#: The values of all attributes, in their order.
Combination: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShopItem:
    """An item of the table.

    Attributes:
        id: unique in the table; picture: the name of its picture; title: its name in the shop, or "".
        values: of the attributes; "" where the table says nothing.
        domain: the name of its domain, or "" where the table does not say.
        split: ``"train"``, ``"val"`` or ``"test"``.
    """

    id: str
    picture: str
    title: str
    values: Combination
    domain: str
    split: str

    @property
    def whole(self) -> bool:
        """Whether it has a value of every attribute: others are right answers to nothing."""
        return all(self.values)


@dataclass(frozen=True)
class Columns:
    """Which columns say what.

    Args:
        attributes: that queries change and keep.
        domain: whose values name the domain, together.
        split: says the split; by default a hash of the id does.
        shares: of the items in train, val and test.
    """

    id: str
    picture: str
    title: str | None
    attributes: Sequence[str]
    domain: Sequence[str] = ()
    split: str | None = None
    shares: Sequence[float] = (0.6, 0.15, 0.25)

    @classmethod
    def of(
        cls,
        roles: Mapping[str, str],
        attributes: Sequence[str],
        domain: Sequence[str],
        shares: Sequence[float],
    ) -> Columns:
        """The columns by their roles; ``id`` and ``picture`` are called so unless said otherwise."""
        held = (roles.get("id", "id"), roles.get("picture", "picture"), roles.get("title"))
        return cls(*held, attributes, domain, roles.get("split"), shares)

    @property
    def named(self) -> tuple[str, ...]:
        """All columns that are needed."""
        some = (self.id, self.picture, self.title, self.split, *self.attributes, *self.domain)
        return tuple(dict.fromkeys(name for name in some if name is not None))


def read_items(rows: Iterable[Row], columns: Columns, table: str) -> list[ShopItem]:
    """The items in the order of the table.

    Raises:
        UserError: an id that stands twice, a row without a picture, a split that
            is none, no rows; with the number of the row.
    """
    found: dict[str, ShopItem] = {}
    for number, row in enumerate(rows, 1):
        picture = row[columns.picture]
        if not picture:
            raise UserError(f"{table}, row {number}: column '{columns.picture}' names no picture")
        name = row[columns.id]
        if name in found:
            raise UserError(f"{table}, row {number}: item '{name}' stands there already; an item has one row")
        found[name] = ShopItem(
            name,
            picture,
            row[columns.title] if columns.title is not None else "",
            tuple(row[attribute] for attribute in columns.attributes),
            _together([row[column] for column in columns.domain]) if columns.domain else "all",
            _split(name, row, columns, f"{table}, row {number}"),
        )
    if not found:
        raise UserError(f"{table} has no rows")
    return list(found.values())


def _together(values: Sequence[str]) -> str:
    return "/".join(values) if all(values) else ""


def _split(name: str, row: Row, columns: Columns, where: str) -> str:
    """As the table says, or by the id alone, so that other items never move it."""
    train, val, _ = columns.shares
    place = stable_hash("split", name) / 2**64
    if columns.split is None:
        return "train" if place < train else "val" if place < train + val else "test"
    said = {"valid": "val", "validation": "val", "dev": "val"}.get(row[columns.split], row[columns.split])
    if said not in SPLITS:
        raise UserError(f"{where}: unknown split '{said}' (allowed: {', '.join(SPLITS)})")
    return said


def in_periods(items: Sequence[ShopItem], periods: int) -> list[ShopItem]:
    """The same items with their domain's value, such as a date, replaced by the period that it falls in.

    Periods hold about as many items each; equal values are never parted. Values are in the order of numbers
    where all of them are numbers, and of texts otherwise, as dates like 2012-03-01 are.
    """
    counts = Counter(item.domain for item in items if item.domain)
    ordered = sorted(counts, key=_number_or_text(counts))
    total, before, members = sum(counts.values()), 0, dict[int, list[str]]()
    for value in ordered:
        members.setdefault((2 * before + counts[value]) * periods // (2 * total), []).append(value)
        before += counts[value]
    spans = [(some, some[0] if len(some) == 1 else f"{some[0]}..{some[-1]}") for some in members.values()]
    names = {value: span for some, span in spans for value in some}
    return [replace(item, domain=names.get(item.domain, "")) for item in items]


def _number_or_text(values: Mapping[str, int]) -> type[float] | type[str]:
    try:
        return float if all(float(value) == float(value) for value in values) else str
    except ValueError:
        return str
