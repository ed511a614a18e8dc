"""Random views of training pictures; each is marked as kept or as drawn once."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Literal

import torch
from PIL import Image, ImageOps

from clplat.data.decoding import to_rgb
from clplat.data.records import Picture
from clplat.errors import UserError
from clplat.randomness import derive, generator


class Augment:
    """A random crop, a flip or both, drawn anew at every moment of training or from a few kept views.

    With ``views`` each picture has that many variants, the same in every experiment: what is frozen is
    computed once for each. Without, every moment has its own, which goes through the whole tower, not kept.

    Args:
        kind: ``"flip"`` left to right, every other time; ``"crop"`` 60 to 100 % of the area, its sides scaled
            by up to 3:4 or 4:3; ``"crop_flip"`` both.
        views: variants of a picture; 0 for no bound.
        seed: decides which variant a moment gets.

    Example:
        >>> shown = Picture("shoe", lambda: Image.new("RGB", (40, 40)))
        >>> Augment("crop", views=4, seed=0)(shown, "epoch 0").key.startswith("shoe~crop")
        True
    """

    def __init__(self, kind: Literal["flip", "crop", "crop_flip"], views: int, seed: int) -> None:
        if views < 0:
            raise UserError(f"views must be at least 0, not {views}")
        self.kind, self.views, self.seed = kind, views, seed

    def __call__(self, picture: Picture, moment: str) -> Picture:
        """The variant of a picture for one moment; equal moments get equal variants."""
        drawn = derive(self.seed, "augment", picture.key, moment)
        view = f"{self.kind}{drawn % self.views}" if self.views else f"{self.kind}@{self.seed}/{moment}"
        load = partial(_variant, picture, self.kind, derive(0, picture.key, view))
        key, sized = f"{picture.key}~{view}", load if picture.sized is not None else None
        return replace(picture, key=key, load=load, sized=sized, once=not self.views)


def _variant(picture: Picture, kind: str, seed: int, least: int = 0) -> Image.Image:
    draw = generator(seed)
    area, ratio, left, top, flip = torch.rand(5, generator=draw).tolist()
    image = to_rgb(picture.read(2 * least if kind != "flip" else least))  # a crop has two thirds of a side
    if kind != "flip":
        share, ratio = 0.6 + 0.4 * area, math.exp((2 * ratio - 1) * math.log(4 / 3))
        width = min(image.width, round(math.sqrt(image.width * image.height * share * ratio)))
        height = min(image.height, round(math.sqrt(image.width * image.height * share / ratio)))
        x, y = round(left * (image.width - width)), round(top * (image.height - height))
        image = image.crop((x, y, x + max(1, width), y + max(1, height)))
    return ImageOps.mirror(image) if kind != "crop" and flip < 0.5 else image
