"""Small pictures of shapes in colours, made from a name: what words say of them can be seen."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from clplat.data.folders import stable_hash

__all__ = ["COLOURS", "SHAPES", "draw", "put"]

COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "black", "cyan")
SHAPES = ("disc", "square", "triangle", "cross", "ring", "bar")


def draw(
    name: str, colour: str | None = None, shape: str | None = None, ground: str = "white", size: int = 32
) -> Image.Image:
    """A shape in a colour; what is not given, its place and its size follow from the name.

    Args:
        name: of the picture: equal names give equal pixels, other names give other pixels.
        colour: one of PIL's names, such as those of ``COLOURS``.
        shape: one of ``SHAPES``.
        ground: colour of the ground.
        size: of the picture, in pixels.

    Example:
        >>> draw("B001", "red", "disc").size
        (32, 32)
    """
    number = stable_hash("drawing", name)
    colour = colour or COLOURS[number % len(COLOURS)]
    shape = shape or SHAPES[number // 8 % len(SHAPES)]
    side = size // 3 + number // 64 % (size // 3)
    left, top = (number // step % (size - side) for step in (4096, 1 << 20))
    picture = Image.new("RGB", (size, size), ground)
    pen, box = ImageDraw.Draw(picture), (left, top, left + side - 1, top + side - 1)
    thick = max(2, side // 4)
    if shape == "disc":
        pen.ellipse(box, fill=colour)
    elif shape == "ring":
        pen.ellipse(box, outline=colour, width=thick)
    elif shape == "triangle":
        pen.polygon([(left, top + side), (left + side, top + side), (left + side // 2, top)], fill=colour)
    elif shape == "cross":
        pen.line((left, top, left + side, top + side), fill=colour, width=thick)
        pen.line((left, top + side, left + side, top), fill=colour, width=thick)
    elif shape == "bar":
        pen.rectangle((left, top + side // 3, left + side, top + side // 3 + thick), fill=colour)
    else:
        pen.rectangle(box, fill=colour)
    return picture


def put(path: Path, colour: str | None = None, shape: str | None = None, *, ground: str = "white") -> Path:
    """Draw the picture of a file's name and write it there, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(path.name, colour, shape, ground).save(path)
    return path
