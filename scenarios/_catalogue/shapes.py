"""The few kinds of shape that products are put together from, in percent of the picture, y downwards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Point",
    "Shape",
    "bow",
    "box",
    "buttons",
    "flip",
    "line",
    "oval",
    "pair",
    "path",
    "plain",
    "soft",
    "whole",
]

Point = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """A closed polygon, or an open line where ``width`` is set.

    ``paint``: ``"fabric"`` carries the product's colour and pattern, ``"lining"`` is its dark shade,
    ``"trim"`` contrasts with it, ``"metal"`` is gold, ``"fold"`` is a faint crease.
    """

    points: NDArray[np.float64]
    paint: str
    width: float = 0.0


def path(text: str) -> list[Point]:
    """Read points: ``"50 20, 42 11!"``. A corner marked ``!`` stays nearly sharp when softened."""
    out: list[Point] = []
    for part in text.split(","):
        x, y = part.rstrip("!").split()
        out += [(float(x), float(y))] * (2 if part.endswith("!") else 1)
    return out


def flip(points: Iterable[Point]) -> list[Point]:
    """Mirror left and right."""
    return [(100.0 - x, y) for x, y in points]


def soft(points: Sequence[Point], paint: str, rounds: int = 2) -> Shape:
    """A polygon whose corners are cut (Chaikin 1974)."""
    corners = np.asarray(points, dtype=np.float64)
    for _ in range(rounds):
        following = np.roll(corners, -1, axis=0)
        cut = np.stack([0.75 * corners + 0.25 * following, 0.25 * corners + 0.75 * following], 1)
        corners = cut.reshape(-1, 2)
    return Shape(corners, paint)


def plain(points: Sequence[Point], paint: str) -> Shape:
    """A polygon as it is."""
    return Shape(np.asarray(points, dtype=np.float64), paint)


def pair(points: Sequence[Point], paint: str) -> list[Shape]:
    """A softened shape on the left, and its mirror image."""
    return [soft(points, paint), soft(flip(points), paint)]


def whole(left: Sequence[Point], paint: str = "fabric") -> Shape:
    """A softened symmetric shape from its left half, top to bottom."""
    return soft([*left, *reversed(flip(left))], paint)


def line(text: str, paint: str = "fold", width: float = 1.2) -> Shape:
    """An open line through the points of a `path`."""
    return Shape(np.asarray(path(text)), paint, width)


def oval(x: float, y: float, rx: float, ry: float, paint: str) -> Shape:
    """An ellipse around (x, y)."""
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    return Shape(np.stack([x + rx * np.cos(turn), y + ry * np.sin(turn)], 1), paint)


def box(x0: float, y0: float, x1: float, y1: float, paint: str) -> Shape:
    """An upright rectangle with slightly round corners."""
    return soft(path(f"{x0} {y0}!, {x1} {y0}!, {x1} {y1}!, {x0} {y1}!"), paint, 1)


def bow(x: float, y: float, r: float) -> list[Shape]:
    """A ribbon bow: two tails, two loops of length r, a knot."""
    loop = [(0.0, 0.0), (1.0, -0.62), (1.05, 0.0), (1.0, 0.62)]
    tail = [(0.0, 0.0), (0.62, 1.25), (0.2, 1.25)]
    parts = [plain([(x + s * r * u, y + r * v) for u, v in p], "trim") for p in (tail, loop) for s in (1, -1)]
    return [*parts, oval(x, y, 0.3 * r, 0.3 * r, "trim")]


def buttons(x: float, heights: Iterable[float], r: float = 2.4) -> list[Shape]:
    """Round buttons above each other."""
    return [oval(x, y, r, r, "trim") for y in heights]
