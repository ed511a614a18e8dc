"""Rendering styles: how a product is shown, from clean product pictures to pencil and dark rooms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .cloth import PALETTE
from .drawing import Layers, Pose, paint
from .items import Item, generator
from .light import Pixels, grain, grid, grow, noise, over, pixels, rgb, rolled, shadow

__all__ = ["GENERAL", "STYLES", "render"]

Style = Callable[[Layers, np.random.Generator], Pixels]

GENERAL = "general"


def render(item: Item, style: str, instance: str, size: int) -> Image.Image:
    """Draw one picture of a product; equal arguments give equal pixels.

    Args:
        item: what is shown.
        style: a name of `STYLES`, or ``"general"``.
        instance: tells several pictures of one product apart; seeds position, light and background.
        size: width and height in pixels.
    """
    rng = generator("picture", item.key, style, instance)
    scale, spread, turn = _POSES[style]
    pose = Pose(
        scale=scale * float(rng.uniform(0.94, 1.06)),
        dx=float(rng.uniform(-spread, spread)),
        dy=float(rng.uniform(-spread, spread)),
        turn=float(rng.uniform(-turn, turn)),
        shade=float(rng.uniform(0.93, 1.05)),
        phase=float(rng.uniform()),
    )
    draw = _general if style == GENERAL else STYLES[style]
    return Image.fromarray(np.clip(draw(paint(item, size, pose), rng), 0, 255).astype(np.uint8))


def _general(layers: Layers, rng: np.random.Generator) -> Pixels:
    """Clean and flat, evenly lit, on a plain and mostly light backdrop of varied tint."""
    tint = rgb(*(rng.triangular(150, 250, 250) + rng.uniform(-14, 14, 3)))
    light = float(rng.uniform(0.82, 1.04))
    return over(np.broadcast_to(tint, (*layers.mask.size, 3)), pixels(layers.colour) * light, layers.mask)


def _studio(layers: Layers, rng: np.random.Generator) -> Pixels:
    """A grey paper roll, soft light from one side, a soft shadow, muted colours."""
    size = layers.mask.width
    x, y = grid(size)
    side = float(rng.choice([-1.0, 1.0]))
    glow = np.exp(-(((x - 0.5 + 0.2 * side) / 0.5) ** 2) - ((y - 0.35) / 0.5) ** 2)
    back = 140 + 75 * glow - 26 * np.clip((y - 0.72) * 8, 0, 1) * (1.2 - y)
    back = back * (1 - 0.55 * shadow(layers.mask, 0.05 * side, 0.045, 0.035))
    front = pixels(layers.colour)
    front = front + 0.22 * (front.mean(2, keepdims=True) - front)
    light = 1.0 - 0.26 * np.clip((x - 0.5) * side + 0.25, 0, 1) - 0.1 * y
    return over(np.repeat(back, 3, 2) * rgb(0.99, 1.0, 1.02), front * light, layers.mask)


def _sketch(layers: Layers, rng: np.random.Generator) -> Pixels:
    """Pencil on paper; colour only as a light tint and hatching."""
    size = layers.mask.width
    x, y = grid(size)
    paper = rgb(249, 245, 234) + 3.5 * grain(size, rng)
    slope = float(rng.uniform(0.7, 1.3))
    hatch = np.clip(1.6 * np.sin(2 * np.pi * 19 * (x + slope * y) + 1.5 * noise(size, 5, 5)), -1, 1)
    colour = pixels(layers.colour)
    # White cloth stays paper, black cloth becomes dense grey hatching: as a draughtsman does it.
    amount = (0.52 + 0.24 * hatch) * (pixels(layers.mask) > 127)
    page = paper + (colour - paper) * amount
    strokes = ImageChops.lighter(layers.lines, ImageChops.offset(layers.lines, 1, int(rng.integers(-1, 2))))
    pencil: Pixels = np.clip(pixels(strokes) / 255 * (0.78 + 0.16 * grain(size, rng)), 0, 1)
    return page + (rgb(58, 56, 62) - page) * pencil


_GROUNDS = (rgb(214, 178, 120), rgb(150, 170, 150), rgb(196, 150, 140), rgb(150, 160, 190))


def _textured(layers: Layers, rng: np.random.Generator) -> Pixels:
    """Paint on canvas: strokes, a woven ground, edges that wander."""
    size = layers.mask.width
    x, y = grid(size)
    ground = _GROUNDS[int(rng.integers(len(_GROUNDS)))]
    strokes = rolled(noise(size, 6, 24), rng)
    back = ground + 11 * strokes + 9 * rolled(noise(size, 3, 7), rng)
    picture = over(back, pixels(layers.colour) + 9 * rolled(noise(size, 20, 9), rng), layers.mask)
    # Displacing the pixels by smooth noise makes brushed edges.
    down, across = (0.0075 * size * rolled(noise(size, 10, 10), rng)[..., 0] for _ in range(2))
    line = np.arange(size)
    rows = np.clip(line[:, None] + down, 0, size - 1).astype(np.intp)
    columns = np.clip(line[None, :] + across, 0, size - 1).astype(np.intp)
    threads: Pixels = 0.5 * (np.sin(2 * np.pi * size / 4 * x) + np.sin(2 * np.pi * size / 4 * y))
    weave = 0.88 * (1 + 0.1 * threads + 0.05 * grain(size, rng))
    return 20 + picture[rows, columns] * weave


def _dark(layers: Layers, rng: np.random.Generator) -> Pixels:
    """A dark room with one spot light, and the noise of a night shot."""
    size = layers.mask.width
    x, y = grid(size)
    cx, cy = float(rng.uniform(0.38, 0.62)), float(rng.uniform(0.3, 0.55))
    spot = np.exp(-(((x - cx) / 0.36) ** 2) - ((y - cy) / 0.42) ** 2)
    back = (24 + 80 * spot) * rgb(1.05, 0.92, 0.86)
    back = back * (1 - 0.5 * shadow(layers.mask, 0.04, 0.05, 0.03))
    front = pixels(layers.colour) * (0.38 + 0.58 * spot) * rgb(1.04, 0.97, 0.92)
    rim = pixels(layers.lines) / 255 * 38 * (0.4 + spot)
    return over(back, front + rim, layers.mask) + 6 * grain(size, rng) + 5


def _cluttered(layers: Layers, rng: np.random.Generator) -> Pixels:
    """In front of a room full of other things."""
    size = layers.mask.width
    wall = tuple(int(v) for v in rng.uniform(150, 215, 3))
    room = Image.new("RGB", (size, size), wall)
    draw = ImageDraw.Draw(room)
    floor = tuple(int(v) for v in rng.uniform(95, 160, 3))
    draw.rectangle((0, 0.76 * size, size, size), fill=floor)
    names = list(PALETTE)
    for _ in range(16):
        colour = np.asarray(PALETTE[names[int(rng.integers(len(names)))]])
        fill = tuple(int(v) for v in 0.62 * colour + 0.38 * np.asarray(wall))
        x, y = (float(v) for v in rng.uniform(-0.1, 0.95, 2) * size)
        w, h = (float(v) for v in rng.uniform(0.1, 0.38, 2) * size)
        kind = int(rng.integers(5))
        box = (x, y, x + w, y + h)
        if kind == 0:
            draw.rectangle(box, fill=fill, outline=(70, 60, 58))
        elif kind == 1:
            draw.ellipse(box, fill=fill)
        elif kind == 2:
            draw.polygon([(x, y + h), (x + w / 2, y), (x + w, y + h)], fill=fill)
        elif kind == 3:
            draw.line((x, y, x + w, y + h), fill=fill, width=max(1, size // 32))
        else:
            for shelf in range(4):
                draw.rectangle(
                    (x + shelf * w / 4, y + (shelf % 2) * h / 5, x + (shelf + 0.8) * w / 4, y + h), fill=fill
                )
    back = pixels(room.filter(ImageFilter.BoxBlur(size / 160)))
    back = back * (1 - 0.6 * shadow(grow(layers.mask, 0.012), 0.02, 0.02, 0.02))
    warm = rgb(1.0, 0.96, 0.88) * float(rng.uniform(0.85, 1.0))
    return over(back, pixels(layers.colour), layers.mask) * warm


_HUES = tuple(
    rgb(*hue)
    for hue in ((235, 94, 82), (38, 166, 154), (92, 107, 192), (240, 178, 50), (171, 71, 150), (110, 170, 70))
)


def _poster(layers: Layers, rng: np.random.Generator) -> Pixels:
    """A cut-out sticker on loud rays, printed in coarse dots."""
    size = layers.mask.width
    x, y = grid(size)
    hue = _HUES[int(rng.integers(len(_HUES)))]
    angle = np.arctan2(y - 0.6, x - float(rng.uniform(0.3, 0.7)))
    rays = np.sin(14 * angle + float(rng.uniform(0, 6))) > 0
    back = hue * (0.82 + 0.22 * rays)
    back = over(back, np.full_like(back, 252.0), grow(layers.mask, 0.03))
    # One printing plate sits a little beside the others.
    red, green, blue = layers.colour.split()
    front = pixels(Image.merge("RGB", (ImageChops.offset(red, max(1, size // 64), 0), green, blue)))
    screen = np.sin(2 * np.pi * 24 * (x + y)) * np.sin(2 * np.pi * 24 * (x - y))
    dots = screen > 0.5 - 0.75 * y
    return over(back, front * (1 - 0.24 * dots), layers.mask)


STYLES: dict[str, Style] = {
    "studio": _studio,
    "sketch": _sketch,
    "textured": _textured,
    "dark": _dark,
    "cluttered": _cluttered,
    "poster": _poster,
}
# Scale, shift in picture widths and turn in radians, at most.
_POSES: dict[str, tuple[float, float, float]] = {
    GENERAL: (1.0, 0.02, 0.05),
    "studio": (0.92, 0.03, 0.04),
    "sketch": (0.95, 0.03, 0.14),
    "textured": (0.95, 0.03, 0.06),
    "dark": (0.9, 0.05, 0.08),
    "cluttered": (0.86, 0.06, 0.1),
    "poster": (0.88, 0.02, 0.22),
}
