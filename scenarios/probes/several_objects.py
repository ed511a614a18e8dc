"""Several objects, drawn: is one that is mentioned first, or is large, understood better than the others?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from PIL import Image, ImageDraw

from clplat.parts import Contrast, Contrasts, Picture
from clplat.randomness import generator

__all__ = ["SeveralObjects"]

_COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
_SHAPES = ("disc", "square", "triangle")


class SeveralObjects(Contrasts):
    """Pictures of a large object and small ones; a false caption has another object in place of one of them.

    ``first large accuracy``: the large object is mentioned first, and that mention is the false one; in the
    same way ``last large``, ``first small`` and ``last small``. Of several small objects, which are mentioned
    in the same order, the one at the end of the caption is meant. Without bias the four numbers are equal;
    CLIP's text tower attends to what comes first, its image tower to what is large.

    Args:
        count: pictures, each of four questions.
        seed: of what is drawn.
        size: width and height in pixels.
        objects: of a picture, 2 to 5.

    Raises:
        ValueError: no pictures, or too many or too large ones; fewer than 2 objects or more than 5.

    Reference:
        Abbasi et al., "CLIP Under the Microscope: A Fine-Grained Analysis of Multi-Object Representation",
        CVPR 2025 (ComCO: 2 to 5 objects, one of them large; this is its matching of texts, with shapes).

    Example:
        >>> SeveralObjects(count=1).cases[0].kind
        'first large'
    """

    def __init__(self, count: int = 60, seed: int = 0, size: int = 96, objects: int = 2) -> None:
        self.count, self.seed, self.size, self.objects = count, seed, size, objects
        if not 1 <= count <= 10_000 or not 16 <= size <= 1024:
            raise ValueError(f"needs 1 to 10000 pictures of 16 to 1024 pixels, not {count} of {size}")
        if not 2 <= objects <= 5:
            raise ValueError(f"objects must be 2 to 5, not {objects}")
        more = "" if objects == 2 else f"/{objects}"
        things = [f"{colour} {shape}" for colour in _COLOURS for shape in _SHAPES]
        cases = []
        for i in range(count):
            order = torch.randperm(len(things), generator=generator(seed, "several objects", i)).tolist()
            large, *small, other = (things[place] for place in order[: objects + 1])
            shown = Picture(f"several-objects/{size}/{seed}/{i}{more}", partial(_draw, large, small, size))
            for said, one, two in (([large, *small], "large", "small"), ([*small, large], "small", "large")):
                right = (_caption(said),)
                cases.append(Contrast(shown, right, (_caption([other, *said[1:]]),), f"first {one}"))
                cases.append(Contrast(shown, right, (_caption([*said[:-1], other]),), f"last {two}"))
        super().__init__("several-objects", cases)


def _caption(things: Sequence[str]) -> str:
    return " and ".join(f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}" for thing in things)


def _draw(large: str, small: Sequence[str], size: int) -> Image.Image:
    picture = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(picture)
    edge = size // 16
    _put(pen, large, (edge, edge, edge + size * 9 // 16, edge + size * 9 // 16))
    side, far = size // 4, size - edge - size // 4
    corners = ((far, far), (far, edge), (edge, far), (far, 6 * edge))
    for thing, (left, top) in zip(small, corners, strict=False):
        _put(pen, thing, (left, top, left + side, top + side))
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
