"""Colours and patterns: what the fabric of a product looks like."""

from __future__ import annotations

import math
from functools import lru_cache

from PIL import Image, ImageDraw

from .items import Item

__all__ = ["PALETTE", "RGB", "bright", "fabric", "mix"]

RGB = tuple[int, int, int]

PALETTE: dict[str, RGB] = {
    "red": (204, 38, 44),
    "orange": (243, 128, 28),
    "yellow": (247, 211, 52),
    "green": (40, 138, 72),
    "blue": (42, 92, 190),
    "purple": (122, 62, 158),
    "pink": (246, 148, 186),
    "black": (40, 40, 46),
    "white": (245, 243, 239),
}
# What a pattern is drawn in on each colour: far enough in brightness to show at 48 px.
_INKS: dict[str, RGB] = {
    "red": (255, 226, 214),
    "orange": (255, 242, 214),
    "yellow": (196, 118, 20),
    "green": (218, 243, 206),
    "blue": (216, 230, 255),
    "purple": (234, 208, 250),
    "pink": (192, 52, 108),
    "black": (206, 206, 216),
    "white": (88, 104, 150),
}
# Patterns are drawn larger than a picture by this share, so that every picture can take another window.
_MARGIN = 0.25
_STEPS = {"striped": 0.085, "checked": 0.1, "dotted": 0.1, "floral": 0.2}


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """The colour at ``share`` of the way from a to b."""
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def bright(colour: RGB) -> float:
    """Perceived brightness, 0..255."""
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


@lru_cache(maxsize=32)
def _pattern(pattern: str, side: int) -> tuple[Image.Image, Image.Image]:
    """Coverage of the pattern's ink, and of a second ink for the hearts and leaves of flowers."""
    width = math.ceil(side * (1 + _MARGIN))
    ink, second = Image.new("L", (width, width)), Image.new("L", (width, width))
    draw, extra = ImageDraw.Draw(ink), ImageDraw.Draw(second)
    step = _STEPS[pattern] * side
    count = math.ceil(width / step) + 1
    for row in range(count):
        y = row * step
        if pattern == "striped":
            draw.rectangle((0, y, width, y + 0.4 * step), fill=255)
        elif pattern == "checked":
            draw.rectangle((0, y, width, y + 0.45 * step), fill=130)
    for row, column in ((r, c) for r in range(count) for c in range(count)):
        x, y = (column + 0.5 * (row % 2)) * step, row * step
        if pattern == "dotted":
            draw.ellipse((x - 0.25 * step, y - 0.25 * step, x + 0.25 * step, y + 0.25 * step), fill=255)
        elif pattern == "floral":
            _flower(draw, extra, (x, y), 0.18 * step, row + column)
        elif pattern == "checked":
            # Gingham: the crossings of two bands are the strongest.
            left, right = column * step, (column + 0.45) * step
            draw.rectangle((left, y + 0.45 * step, right, y + step), fill=130)
            draw.rectangle((left, y, right, y + 0.45 * step), fill=255)
    return ink, second


def _flower(
    ink: ImageDraw.ImageDraw, second: ImageDraw.ImageDraw, at: tuple[float, float], r: float, turn: int
) -> None:
    """Five petals, a heart and two leaves."""
    for leaf in (0.6, 3.6):
        x, y = at[0] + 2.1 * r * math.cos(turn + leaf), at[1] + 2.1 * r * math.sin(turn + leaf)
        second.ellipse((x - 0.8 * r, y - 0.5 * r, x + 0.8 * r, y + 0.5 * r), fill=150)
    for petal in range(5):
        angle = turn + petal * 2 * math.pi / 5
        x, y = at[0] + 0.95 * r * math.cos(angle), at[1] + 0.95 * r * math.sin(angle)
        ink.ellipse((x - 0.75 * r, y - 0.75 * r, x + 0.75 * r, y + 0.75 * r), fill=255)
    second.ellipse((at[0] - 0.6 * r, at[1] - 0.6 * r, at[0] + 0.6 * r, at[1] + 0.6 * r), fill=255)


def fabric(item: Item, side: int, base: RGB, phase: float) -> Image.Image:
    """A square of the product's cloth.

    Args:
        item: gives colour and pattern.
        side: of the square, in pixels.
        base: the ground colour under the picture's light.
        phase: 0..1, where in the pattern the square begins.
    """
    cloth = Image.new("RGB", (side, side), base)
    if item["pattern"] != "plain":
        start = round(phase * _MARGIN * side)
        window = (start, start, start + side, start + side)
        ink, second = (mask.crop(window) for mask in _pattern(item["pattern"], side))
        cloth.paste(_INKS[item["colour"]], mask=ink)
        cloth.paste((110, 60, 20) if item["colour"] == "orange" else (226, 120, 60), mask=second)
    return cloth
