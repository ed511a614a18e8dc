"""Which item is changed into what: drawn so that every combination of values is asked for about as often."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from .items import Combination, ShopItem

__all__ = ["Change", "Shelf", "draw_changes"]

#: Places of the attributes that change.
Places = tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """An item, the places of the attributes that change, and the values of what is wanted."""

    reference: ShopItem
    places: Places
    wanted: Combination


class Shelf:
    """Items by the combination of their values; items without the full labels are on no shelf.

    Attributes:
        cells: combination -> its items, both in their order.
    """

    def __init__(self, items: Iterable[ShopItem]) -> None:
        found: dict[Combination, list[ShopItem]] = {}
        for item in items:
            if item.whole:
                found.setdefault(item.values, []).append(item)
        self.cells = {cell: tuple(sorted(found[cell], key=lambda i: i.id)) for cell in sorted(found)}
        self._kept: dict[Places, dict[Combination, list[Combination]]] = {}

    @cached_property
    def combinations(self) -> tuple[Combination, ...]:
        """All that there are, sorted."""
        return tuple(self.cells)

    def sources(self, wanted: Combination, places: Places) -> list[Combination]:
        """Combinations that differ from this one at all of these places and nowhere else."""
        by_kept = self._kept.get(places)
        if by_kept is None:
            by_kept = self._kept[places] = {}
            for cell in self.cells:
                by_kept.setdefault(_without(cell, places), []).append(cell)
        same = by_kept.get(_without(wanted, places), [])
        return [cell for cell in same if all(cell[p] != wanted[p] for p in places)]

    def near(self, wanted: Combination) -> list[ShopItem]:
        """Items that miss this combination by one value."""
        cells = [cell for place in range(len(wanted)) for cell in self.sources(wanted, (place,))]
        return [item for cell in cells for item in self.cells[cell]]


def _without(cell: Combination, places: Places) -> Combination:
    return tuple(value for place, value in enumerate(cell) if place not in places)


def draw_changes(
    references: Shelf, wanted: Sequence[Combination], most: int, limit: int, draw: random.Random
) -> Iterator[Change]:
    """Changes, none of them twice.

    Args:
        references: what may be changed.
        wanted: the combinations that may be wanted; each is drawn as often as any other.
        most: attributes of a change at most; one is kept in any case.
        limit: how many changes; fewer where the items do not give that many.
    """
    if not wanted:
        return
    width, found = len(wanted[0]), set[tuple[str, Combination]]()
    sets = [list(combinations(range(width), size)) for size in range(1, min(most, width - 1) + 1)]
    for _ in range(20 * limit):  # a small table may have fewer
        cell, places = draw.choice(wanted), draw.choice(draw.choice(sets))
        cells = references.sources(cell, places)
        if not cells:
            continue
        reference = draw.choice(references.cells[draw.choice(cells)])
        if (reference.id, cell) not in found:
            found.add((reference.id, cell))
            yield Change(reference, places, cell)
        if len(found) == limit:
            return
