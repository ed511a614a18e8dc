"""Painting a product: outlines, colour and pattern become layers that a style puts into a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .accessories import bag, shoe
from .cloth import PALETTE, RGB, bright, fabric, mix
from .garments import coat, dress, top, trousers
from .items import Item
from .shapes import Shape

__all__ = ["Layers", "Pose", "outline", "paint"]

_OUTLINES = {"dress": dress, "top": top, "shoe": shoe, "bag": bag, "coat": coat, "trousers": trousers}
_OVERSAMPLE = 2


@dataclass(frozen=True)
class Pose:
    """Where and in what light a product lies.

    Args:
        scale: 1 fills the picture.
        dx: shift to the right, in picture widths; ``dy`` likewise downwards.
        turn: clockwise, in radians.
        shade: below 1 darkens the product's colour, above 1 lightens it.
        phase: 0..1, where the fabric's pattern begins.
    """

    scale: float = 1.0
    dx: float = 0.0
    dy: float = 0.0
    turn: float = 0.0
    shade: float = 1.0
    phase: float = 0.0


@dataclass(frozen=True)
class Layers:
    """A painted product at picture size: its colours, its coverage and its drawn lines."""

    colour: Image.Image
    mask: Image.Image
    lines: Image.Image


@lru_cache(maxsize=4096)
def _centred(category: str, form: tuple[str, ...]) -> tuple[Shape, ...]:
    shapes = _OUTLINES[category](Item(category, form))
    ends = np.concatenate([shape.points for shape in shapes])
    shift = 50 - (ends.min(0) + ends.max(0)) / 2
    return tuple(Shape((shape.points + shift) / 100, shape.paint, shape.width / 100) for shape in shapes)


def outline(item: Item) -> tuple[Shape, ...]:
    """The shapes of a product in painting order, centred in a unit square."""
    # Colour and pattern play no part: products that differ in nothing else share the entry of the cache.
    return _centred(item.category, item.replace("colour", "white").replace("pattern", "plain").values)


def _place(points: NDArray[np.float64], pose: Pose, side: int) -> list[tuple[float, float]]:
    cos, sin = math.cos(pose.turn) * pose.scale, math.sin(pose.turn) * pose.scale
    x, y = points[:, 0] - 0.5, points[:, 1] - 0.5
    moved = np.stack([cos * x - sin * y + 0.5 + pose.dx, sin * x + cos * y + 0.5 + pose.dy], 1) * side
    return [(a, b) for a, b in moved.tolist()]


def _paints(colour: str, shade: float) -> dict[str, RGB]:
    """The colours of all parts of a product, from its own colour."""
    black, white = (0, 0, 0), (255, 255, 255)
    base = mix(black, PALETTE[colour], shade) if shade < 1 else mix(PALETTE[colour], white, shade - 1)
    paints = {"base": base, "metal": (222, 178, 74)}
    paints["trim"] = (250, 240, 222) if bright(base) < 125 else (66, 48, 44)
    if colour == "black":  # nothing is darker than black: its lines are lighter
        return {**paints, "lining": mix(base, white, 0.22), "edge": (150, 150, 160), "fold": (92, 92, 100)}
    dark = (24, 18, 28)
    return {
        **paints,
        "lining": mix(base, dark, 0.38),
        "edge": mix(base, dark, 0.62),
        "fold": mix(base, dark, 0.24),
    }


def paint(item: Item, size: int, pose: Pose) -> Layers:
    """Paint a product on nothing.

    Args:
        item: the product.
        size: width and height of the layers in pixels.
        pose: where it lies.
    """
    side = _OVERSAMPLE * size
    paints = _paints(item["colour"], pose.shade)
    cloth = fabric(item, side, paints["base"], pose.phase)
    # Under the mask's soft edge the colour layer shows the outline, not a foreign ground.
    colour = Image.new("RGB", (side, side), paints["edge"])
    mask, lines = Image.new("L", (side, side)), Image.new("L", (side, side))
    on_colour, on_mask, on_lines = ImageDraw.Draw(colour), ImageDraw.Draw(mask), ImageDraw.Draw(lines)
    pen = max(1, round(0.011 * side))
    for shape in outline(item):
        points = _place(shape.points, pose, side)
        if shape.width:
            width = max(1, round(shape.width * side * pose.scale))
            on_colour.line(points, fill=paints[shape.paint], width=width, joint="curve")
            on_lines.line(points, fill=90 if shape.paint == "fold" else 200, width=max(1, width // 2))
            on_mask.line(points, fill=255, width=width, joint="curve")
            continue
        if shape.paint == "fabric":
            stencil = Image.new("L", (side, side))
            ImageDraw.Draw(stencil).polygon(points, fill=255)
            colour.paste(cloth, mask=stencil)
        else:
            on_colour.polygon(points, fill=paints[shape.paint])
        on_mask.polygon(points, fill=255)
        on_lines.polygon(points, fill=0)
        ring = [*points, *points[:2]]
        on_colour.line(ring, fill=paints["edge"], width=pen, joint="curve")
        on_lines.line(ring, fill=255, width=pen, joint="curve")
        on_mask.line(ring, fill=255, width=pen, joint="curve")
    return Layers(*(layer.reduce(_OVERSAMPLE) for layer in (colour, mask, lines)))
