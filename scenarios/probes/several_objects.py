"""Several objects, drawn: is one that is mentioned first, or is large, understood better than the others?"""

from __future__ import annotations

from functools import partial

import torch
from PIL import Image, ImageDraw

from clplat.parts import Contrast, Contrasts, Picture
from clplat.randomness import generator

__all__ = ["SeveralObjects"]

_COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
_SHAPES = ("disc", "square", "triangle")


class SeveralObjects(Contrasts):
    """Pictures of a large and a small object; a false caption has another object in place of one of them.

    ``first large accuracy``: the large object is mentioned first, and that mention is the false one; in the
    same way ``last large``, ``first small`` and ``last small``. Without bias the four numbers are equal;
    CLIP's text tower attends to what comes first, its image tower to what is large.

    Args:
        count: pictures, each of four questions.
        seed: of what is drawn.
        size: width and height in pixels.

    Raises:
        ValueError: no pictures, or too many or too large ones.

    Reference:
        Abbasi et al., "CLIP Under the Microscope: A Fine-Grained Analysis of Multi-Object Representation",
        CVPR 2025 (ComCO, of which this is the matching of texts with two objects).

    Example:
        >>> SeveralObjects(count=1).cases[0].kind
        'first large'
    """

    def __init__(self, count: int = 60, seed: int = 0, size: int = 96) -> None:
        self.count, self.seed, self.size = count, seed, size
        if not 1 <= count <= 10_000 or not 16 <= size <= 1024:
            raise ValueError(f"needs 1 to 10000 pictures of 16 to 1024 pixels, not {count} of {size}")
        things = [f"{colour} {shape}" for colour in _COLOURS for shape in _SHAPES]
        cases = []
        for i in range(count):
            order = torch.randperm(len(things), generator=generator(seed, "several objects", i)).tolist()
            large, small, other = (things[place] for place in order[:3])
            shown = Picture(f"several-objects/{size}/{seed}/{i}", partial(_draw, large, small, size))
            for (first, one), (last, two) in (
                ((large, "large"), (small, "small")),
                ((small, "small"), (large, "large")),
            ):
                right = (_caption(first, last),)
                cases.append(Contrast(shown, right, (_caption(other, last),), f"first {one}"))
                cases.append(Contrast(shown, right, (_caption(first, other),), f"last {two}"))
        super().__init__("several-objects", cases)


def _caption(first: str, last: str) -> str:
    return " and ".join(f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}" for thing in (first, last))


def _draw(large: str, small: str, size: int) -> Image.Image:
    picture = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(picture)
    edge = size // 16
    _put(pen, large, (edge, edge, edge + size * 9 // 16, edge + size * 9 // 16))
    side = size // 4
    _put(pen, small, (size - edge - side, size - edge - side, size - edge, size - edge))
    return picture


def _put(pen: ImageDraw.ImageDraw, thing: str, box: tuple[int, int, int, int]) -> None:
    colour, shape = thing.split()
    left, top, right, bottom = box
    if shape == "disc":
        pen.ellipse(box, fill=colour)
    elif shape == "square":
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=colour)
