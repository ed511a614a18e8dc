"""Shoes, seen from the side with the toe to the left, and bags, seen from the front."""

from __future__ import annotations

import numpy as np

from .items import Item
from .shapes import Point, Shape, bow, box, line, oval, path, plain, soft, whole

__all__ = ["bag", "shoe"]

_SHAFTS = {
    "low-cut": "42 20, 50 16, 68 17, 80 29, 84.5 28",
    "ankle-high": "46 23, 55.5 36, 55.5 42!, 84.5 42!",
    "knee-high": "46 23, 56 36, 53 63!, 87 63!",
}
_GROUND = 90.0


def _on_foot(points: list[Point], rise: float) -> list[Point]:
    """Points of a flat shoe, y upwards from the sole, lifted by a heel behind the ball of the foot."""
    out = []
    for x, y in points:
        level = min(max((y - 20) / 15, 0.0), 1.0)  # the rim of a boot lies level, whatever the heel
        t = min(max(((1 - level) * x + level * 70 - 36) / 42, 0.0), 1.0)
        out.append((x, _GROUND - 3.5 - y - rise * t * t * (3 - 2 * t)))
    return out


def shoe(item: Item) -> list[Shape]:
    """A shoe or boot."""
    rise = {"flat": 0.0, "low": 9.0, "high": 21.0}[item["heel"]]

    def foot(text: str) -> list[Point]:
        return _on_foot(path(text), rise)

    under = "70 0, 55 0, 42 0, 30 0, 16 0"
    upper = f"11 0!, 8.5 9, 15 15, 30 16.5, {_SHAFTS[item['shaft']]}, 83 20, 85 8, 84 0!, {under}"
    across = np.linspace(11, 84.5, 9)
    sole = [(float(x), 1.2) for x in across] + [(float(x), -2.8) for x in across[::-1]]
    shapes = [soft(foot(upper), "fabric"), plain(_on_foot(sole, rise), "lining")]
    if rise:
        slim = 4.5 if item["heel"] == "high" else 0.0
        block = [*foot("70 -1"), (74.5 + slim, _GROUND), (85.0, _GROUND), *foot("84.5 -1")]
        shapes.insert(0, plain(block, "lining"))
    shapes.append(Shape(np.asarray(foot("62 3, 66 12, 74 16")), "fold", 1.2))
    (x0, y0), (x1, y1), vamp = foot("32.5 15, 42.5 6, 37 16.5")
    ladder = [(30.0, 16.0), (35.5, 18.0), (41.0, 20.5), (46.5, 23.5)]
    details = {
        "none": [],
        "buckle": [plain(foot("33 2, 40 2, 42 20, 34 18"), "trim"), box(x0, y0, x1, y1, "metal")],
        "bow": bow(*vamp, 9.5),
        "laces": [
            Shape(np.asarray(foot(f"{x - 2.5} {y + 1.5}, {x + 3} {y - 8}")), "trim", 2.4) for x, y in ladder
        ],
        "studs": [oval(*foot(f"{x} 5.5")[0], 2.1, 2.1, "metal") for x in np.linspace(18, 79, 8)],
    }
    return shapes + details[item["detail"]]


def bag(item: Item) -> list[Shape]:
    """A handbag with a flap."""
    scale = {"small": 0.56, "medium-sized": 0.78, "large": 1.0}[item["size"]]
    floor, half = 90.0, 36 * scale
    rim = floor - 46 * scale
    lid = rim + 17 * scale
    shapes: list[Shape] = []
    if item["handle"] != "none":
        short = item["handle"] == "short"
        reach, wide = (14, 0.5 * half) if short else (34, 0.82 * half)
        turn = np.linspace(0, np.pi, 15)
        arch = np.stack([50 - wide * np.cos(turn), rim + 3 - (reach + 3) * np.sin(turn) ** 0.8], 1)
        shapes.append(Shape(arch, "lining", 3.0))
    body = f"50 {rim}, {50 - 0.8 * half} {rim}, {50 - 0.86 * half} {rim}, {50 - half} {floor}!, 50 {floor}"
    shapes.append(whole(path(body)))
    shapes.append(line(f"{50 - 0.88 * half} {lid}, 50 {lid + 3}, {50 + 0.88 * half} {lid}", width=1.6))
    middle, hook = lid + 0.32 * (floor - lid) + 3, 50 + 0.62 * half
    fringe = [(hook + dx, rim + dy) for dx, dy in ((-2.2, 11.0), (2.2, 11.0), (5.0, 25.0), (-5.0, 25.0))]
    details = {
        "none": [],
        "buckle": [box(46, lid - 5, 54, lid + 7, "metal"), box(48.2, lid - 2, 51.8, lid + 4, "trim")],
        "pocket": [
            box(50 - 0.5 * half, middle - 2, 50 + 0.5 * half, floor - 3.5, "lining"),
            box(50 - 0.54 * half, middle - 4.5, 50 + 0.54 * half, middle, "trim"),
        ],
        "bow": bow(50, lid + 3, 10.5),
        "tassel": [
            line(f"{hook} {rim + 2}, {hook} {rim + 10}", "trim", 2.0),
            oval(hook, rim + 10, 2.8, 2.8, "metal"),
            plain(fringe, "trim"),
        ],
    }
    return shapes + details[item["detail"]]
