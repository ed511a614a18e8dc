"""Dresses, tops, coats and trousers, seen from the front."""

from __future__ import annotations

import numpy as np

from .items import Item
from .shapes import (
    Shape,
    bow,
    box,
    buttons,
    flip,
    line,
    oval,
    pair,
    path,
    plain,
    soft,
    whole,
)

__all__ = ["coat", "dress", "top", "trousers"]


def _belt(half: float, y: float) -> list[Shape]:
    strap = box(50 - half, y - 2.6, 50 + half, y + 2.6, "trim")
    return [strap, box(46.2, y - 3.6, 53.8, y + 3.6, "metal"), box(48.3, y - 1.6, 51.7, y + 1.6, "trim")]


def _zip(top: float, bottom: float) -> list[Shape]:
    teeth = [line(f"48 {y}, 52 {y}", "trim", 1.4) for y in np.arange(top + 3, bottom, 3.5)]
    return [line(f"50 {top}, 50 {bottom}", "metal", 2.2), *teeth, oval(50, top + 3, 2.4, 3.4, "metal")]


def _sleeves(length: str, shoulder: float, armpit: float, y: float) -> list[Shape]:
    """Both sleeves, from the distances of shoulder and armpit to the middle and the shoulder's height."""
    s, a = 50 - shoulder, 50 - armpit
    if length == "short":
        outside = f"{s + 3} {y}, {s - 2} {y + 2}, {s - 10.5} {y + 14}!"
        return pair(path(f"{outside}, {s - 3} {y + 19.5}!, {a + 2} {y + 14}"), "fabric")
    if length == "long":
        outside = f"{s + 3} {y}, {s - 2} {y + 2}, {s - 8.5} {y + 20}, {s - 16} {y + 46}!"
        return pair(path(f"{outside}, {s - 8.5} {y + 48.5}!, {a + 3} {y + 15}"), "fabric")
    return []


def dress(item: Item) -> list[Shape]:
    """A fitted bodice with a flared skirt."""
    hem, flare = {"short": (61, 20), "knee-length": (76.5, 24.5), "long": (95, 29)}[item["length"]]
    bare = item["sleeves"] == "sleeveless"
    shoulder = f"{38.5 if bare else 35.5} 13!, {40.5 if bare else 37} 20, 37.5 28"
    skirt = f"41.2 40, 41.2 42, {50 - flare} {hem - 1.2}!, 50 {hem + 1.2}"
    shapes = [oval(50, 13.5, 7, 3.5, "lining"), *_sleeves(item["sleeves"], 14.5, 12.5, 12.5)]
    shapes.append(whole(path(f"50 20, 45.5 18.5, 42.5 11.5!, {shoulder}, {skirt}")))
    for side in (-0.55, -0.15, 0.3, 0.62):
        shapes.append(line(f"{50 + 10 * side} 46, {50 + flare * side} {hem - 1}"))
    details = {
        "none": [],
        "belt": _belt(9.4, 41),
        "collar": pair(path("50 20!, 43 10.5, 37.5 14, 39.5 22.5, 44.5 25"), "trim"),
        "buttons": buttons(50, (25, 31.5, 38, 44.5, 51)),
        "bow": bow(50, 40, 11.5),
    }
    return shapes + details[item["detail"]]


def top(item: Item) -> list[Shape]:
    """A shirt down to the hip."""
    bare = item["sleeves"] == "sleeveless"
    dip = {"round": 27.0, "v-shaped": 38.5, "high": 20.0}[item["neck"]]
    neck = f"50 {dip}!, 41 16.5!" if item["neck"] == "v-shaped" else f"50 {dip}, 44 {dip - 2}, 41 16.5!"
    arm = f"{33.5 if bare else 29.5} 20!, {34.5 if bare else 31} 29, 31 38"
    shapes = [oval(50, 19, 8.5, 4.5, "lining"), *_sleeves(item["sleeves"], 20.5, 19, 19)]
    shapes.append(whole(path(f"{neck}, {arm}, 32.5 55, 29.5 82!, 50 84")))
    shapes += [line("36 60, 34 81"), line("62 50, 64.5 81")]
    if item["neck"] == "high":
        shapes += [box(41, 10.5, 59, 21.5, "fabric"), line("41.5 16.5, 58.5 16.5", width=1.6)]
    details = {
        "none": [],
        "pocket": [
            plain(path("53 44, 65 44, 65 55, 59 59, 53 55"), "lining"),
            box(52.2, 42.5, 65.8, 46.5, "trim"),
        ],
        "buttons": [line(f"50 {dip}, 50 82"), *buttons(50, np.linspace(dip + 5, 77, 5))],
        "bow": bow(50, dip + 6, 12),
        "zip": _zip(dip, 82),
    }
    return shapes + details[item["detail"]]


def coat(item: Item) -> list[Shape]:
    """A coat with long sleeves, closed in the middle."""
    hem, flare = {"short": (61, 20), "knee-length": (77.5, 22.5), "long": (94, 25)}[item["length"]]
    lapels, hood = item["collar"] == "lapels", item["collar"] == "hood"
    shapes = [oval(50, 13.5, 7.5, 3.5, "lining")]
    if hood:
        shapes = [whole(path("50 1.5, 40 3, 35.5 13, 40 22, 50 23")), oval(50, 13.5, 8, 8.5, "lining")]
    shapes += pair(path("36 12.5, 31 14, 20.5 36, 16.5 60!, 25 61.5!, 32.5 34"), "fabric")
    side = f"33 13.5, 31.5 16, 31.5 40, {50 - flare} {hem - 1}!, 50 {hem}"
    shapes.append(whole(path(f"50 20, 44.5 18.5, 42 12!, {side}")))
    shapes += [
        line(f"50 20, 50 {hem}", width=1.4),
        line(f"36 50, 34.5 {hem - 1}"),
        line(f"64 48, 65.5 {hem - 1}"),
    ]
    if lapels:
        shapes += pair(path("50 39!, 42 10!, 36 15, 35.5 24, 40 24.5"), "lining")
    details = {
        "none": [],
        "buttons": [
            b for x in (45.5, 54.5) for b in buttons(x, np.linspace(43 if lapels else 27, 56, 3), 2.3)
        ],
        "zip": _zip(39 if lapels else 20, hem - 1),
        "belt": _belt(18.7, 43),
        "pockets": pair(path("33.5 50!, 45.5 50!, 45.5 56, 33.5 56!"), "trim"),
    }
    return shapes + details[item["detail"]]


def trousers(item: Item) -> list[Shape]:
    """Two legs below a waistband."""
    hem = {"short": 47, "knee-length": 67, "long": 92}[item["length"]]
    wide = item["legs"] == "wide"
    down = (hem - 30) / 62  # a wide leg widens all the way, so that it shows at any length
    outer = 50 - (21.5 + 13 * down if wide else 17.5 - 3.5 * down)
    inner = 45.0 if wide else 44.5
    hip = f"50 11!, 36.5 11!, {31.5 if wide else 32.5} 28"
    leg = path(f"{hip}, {outer} {hem}!, {inner} {hem + 0.8}!, 48.8 39, 50 36")
    shapes = [soft(leg, "fabric"), soft(flip(leg), "fabric")]
    shapes += [line("36.5 15.5, 63.5 15.5", width=1.4), line("50 16, 50 37", width=1.4)]
    middle = (outer + inner) / 2
    shapes += [line(f"{x} 40, {end} {hem - 1}") for x, end in ((41.5, middle), (58.5, 100 - middle))]
    left, right = outer - 1.2, inner + 0.8
    cuff = path(f"{left} {hem - 5}, {left} {hem + 1.2}, {right} {hem + 2}, {right} {hem - 4.5}")
    details = {
        "none": [],
        "belt": _belt(14.2, 13.5),
        "pockets": pair(path("35.5 20!, 45.5 20!, 45.5 29, 40.5 32, 35.5 29"), "trim"),
        "cuffs": [plain(cuff, "trim"), plain(flip(cuff), "trim")],
        "bow": bow(50, 15, 11),
    }
    return shapes + details[item["detail"]]
