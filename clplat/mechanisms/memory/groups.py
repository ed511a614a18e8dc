"""The groups that share the places of a memory: experiences or classes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, TypeVar

from torch import Tensor

__all__ = ["by_group", "label_of", "reservoir", "shares"]

Row = TypeVar("Row")


def by_group(data: Any, per: Literal["experience", "class"], own: str) -> dict[str, Sequence[int]]:
    """The rows of the data of an experience, by the group that they belong to.

    Args:
        data: a sequence of examples.
        per: one group, or one for every class, where examples are ``(x, y, ...)`` with an integer y.
        own: the name of the experience.

    Example:
        >>> by_group([("a", 3), ("b", 1), ("c", 3)], "class", "0")
        {'class 3': [0, 2], 'class 1': [1]}
    """
    if per == "experience":
        return {own: range(len(data))}
    groups: dict[str, list[int]] = {}
    labels = getattr(data, "targets", None)  # as data sets of torchvision and Avalanche have
    for i in range(len(data)):
        label = _class(label_of(data[i]) if labels is None else labels[i])
        groups.setdefault(label or own, []).append(i)
    return {**groups}


def label_of(example: Any) -> Any:
    """The label y of an example ``(x, y, ...)``; None of any other."""
    return example[1] if isinstance(example, tuple | list) and len(example) > 1 else None


def _class(label: Any) -> str | None:
    if isinstance(label, Tensor) and not label.ndim and not label.is_floating_point():
        label = int(label)
    return f"class {label}" if isinstance(label, int) else None


def shares(size: int, available: Sequence[int]) -> list[int]:
    """Places for each group: as equal as what is available allows, ``size`` in all.

    Example:
        >>> shares(20, [2, 50, 50])
        [2, 9, 9]
    """
    places, left = [0] * len(available), size
    order = sorted(range(len(available)), key=lambda i: available[i])
    for rank, i in enumerate(order):
        places[i] = min(available[i], left // (len(order) - rank))
        left -= places[i]
    return places


def reservoir(
    held: Iterable[Row], fresh: Iterable[Row], size: int, seen: int, draw: Callable[[int], int]
) -> list[Row]:
    """Vitter's algorithm R (1985): each row of all seen so far is among those kept with equal chance.

    Args:
        held: kept of the ``seen`` rows before; fresh: that come now, in their order.
        size: rows that are kept at most.
        draw: n -> a whole number below n.

    Example:
        >>> reservoir(["a"], ["b", "c"], size=2, seen=1, draw=lambda n: 0)
        ['c', 'b']
    """
    slots = [*held]
    for number, row in enumerate(fresh, start=seen + 1):
        if len(slots) < size:
            slots.append(row)
        elif (place := draw(number)) < size:
            slots[place] = row
    return slots
