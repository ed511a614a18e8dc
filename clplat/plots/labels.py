"""Names written next to what they name, moved apart where they would overlap: no legend to look up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["End", "end_labels", "label_text", "point_labels", "shorten", "spread"]

_SIZE = 8.5
_WIDE, _HIGH = 0.076, 0.15  # inches of a bold letter and of a line, at that size
_BAR = 0.007  # inches that an error bar is wide to either side

Box = tuple[float, float, float, float]
End = tuple[float, float, str, str]  # x, y, name, colour


def shorten(name: str, length: int = 26) -> str:
    """A long name with its middle left out: names of one sweep often differ at their ends.

    Example:
        >>> shorten("replay with a long name, size 50", 20)
        'replay wi…e, size 50'
    """
    if len(name) <= length:
        return name
    front = (length - 1) // 2
    return f"{name[:front]}…{name[front + 1 - length :]}"


def label_text(name: str, length: int = 26) -> str:
    """A name as matplotlib takes it: shortened, and with dollars that start no formula."""
    return shorten(name, length).replace("$", r"\$")


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move places at least ``gap`` apart, in their order and as little as a sweep up and down needs.

    They stay within ``low`` and ``high`` if there is room for all of them.

    Example:
        >>> spread([1.0, 1.2, 5.0], gap=1.0, low=0.0, high=6.0)
        [1.0, 2.0, 5.0]
    """
    order = sorted(range(len(places)), key=places.__getitem__)
    gap = min(gap, (high - low) / max(len(places) - 1, 1))
    moved = [0.0] * len(places)
    floor = low
    for k in order:
        moved[k] = floor = max(places[k], floor)
        floor += gap
    ceiling = high
    for k in reversed(order):
        moved[k] = min(moved[k], ceiling)
        ceiling = moved[k] - gap
    return moved


def end_labels(axes: Any, ends: Sequence[End], height: float) -> None:
    """Write (x, y, name, colour) at the right edge, with a hair line where a name had to move or ends early.

    Args:
        height: of the axes in inches, roughly: how many lines of text there is room for.
    """
    if not ends:
        return
    low, high = axes.get_ylim()
    gap = _HIGH * 1.15 * (high - low) / height
    last = max(x for x, *_ in ends)
    places = spread([end[1] for end in ends], gap, low, high)
    for (x, y, name, colour), place in zip(ends, places, strict=True):
        moved = x < last or abs(place - y) > gap / 2
        axes.annotate(
            label_text(name), (x, y), (1.0, place), textcoords=axes.get_yaxis_transform(), color=colour,
            fontsize=_SIZE, fontweight="bold", va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6} if moved else None,
        )  # fmt: skip


def point_labels(
    axes: Any,
    points: Sequence[End],
    width: float,
    height: float,
    spreads: Sequence[tuple[float, float]],
) -> None:
    """Name points (x, y, name, colour), each on the side where its name covers least.

    Where that still covers something, a legend beside the axes names all artists that have a label instead.

    Args:
        width, height: of the axes in inches, roughly.
        spreads: half lengths of the error bars of each point, which names avoid as far as they can.
    """
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    centres = [
        (width * (x - left) / (right - left), height * (y - low) / (high - low)) for x, y, *_ in points
    ]
    taken: list[Box] = [(x - 0.07, y - 0.07, x + 0.07, y + 0.07) for x, y in centres]
    for (x, y), (wide, tall) in zip(centres, spreads, strict=True):
        wide, tall = width * wide / (right - left), height * tall / (high - low)
        taken += [(x - wide, y - _BAR, x + wide, y + _BAR), (x - _BAR, y - tall, x + _BAR, y + tall)]
    places: list[Box] = []
    for (_, _, name, _), centre in zip(points, centres, strict=True):
        # Of places that cover equally little, the first: to the right of the point.
        cost, box = min(
            (
                (sum(_overlap(box, other) for other in taken) + 0.1 * _outside(box, width, height), box)
                for box in _around(centre, _WIDE * len(shorten(name)))
            ),
            key=lambda choice: choice[0],
        )
        if cost > 0.01:
            axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=_SIZE)
            return
        taken.append(box)
        places.append(box)
    for (x, y, name, colour), (at_x, at_y), box in zip(points, centres, places, strict=True):
        shift = (72 * (box[0] - at_x), 72 * ((box[1] + box[3]) / 2 - at_y))
        axes.annotate(
            label_text(name), (x, y), shift, textcoords="offset points", color=colour, fontsize=_SIZE,
            fontweight="bold", va="center",
        )  # fmt: skip


def _around(centre: tuple[float, float], wide: float) -> Iterator[Box]:
    """The boxes that a name of this width could fill: eight directions from the point, two distances."""
    for far in (0.11, 0.17):
        for across, up in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)):
            left = centre[0] + across * far + (0 if across > 0 else -wide if across < 0 else -wide / 2)
            low = centre[1] + up * far - _HIGH / 2
            yield left, low, left + wide, low + _HIGH


def _outside(box: Box, width: float, height: float) -> float:
    return max(0, -box[0]) + max(0, box[2] - width) + max(0, -box[1]) + max(0, box[3] - height)


def _overlap(one: Box, other: Box) -> float:
    """The area that two boxes share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    up = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0) * max(up, 0)
