"""Data types of pictures as operations: each with what it is called and how one asks for it."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from clplat.data.folders import stable_hash
from clplat.data.items import Picture

__all__ = ["OPERATIONS", "Operation", "changed"]


@dataclass(frozen=True)
class Operation:
    """One data type.

    Args:
        kind: ``geometric``, ``pixel``, ``style`` or ``semantic``.
        noun: what a picture of the type is called.
        change: how one asks for it, given the picture without it.
        apply: a picture and a number that draws -> the picture of the type.
    """

    kind: str
    noun: str
    change: str
    apply: Callable[[Image.Image, int], Image.Image]


def changed(picture: Picture, name: str) -> Picture:
    """The picture after an operation of that name."""
    number = stable_hash("changed", picture.key, name)
    # A new one: nothing else that the picture may know of its file holds for the changed one.
    return Picture(f"{picture.key}~{name}", partial(_load, picture.load, name, number), stamp=picture.stamp)


def _load(load: Callable[[], Image.Image], name: str, number: int) -> Image.Image:
    return OPERATIONS[name].apply(load().convert("RGB"), number).convert("RGB")


def _reshuffled(picture: Image.Image, number: int) -> Image.Image:
    """Four by four patches in another order."""
    width, height = max(4, picture.width // 4 * 4), max(4, picture.height // 4 * 4)
    picture = picture.resize((width, height))
    w, h = width // 4, height // 4
    out = Image.new("RGB", (width, height))
    order = np.random.default_rng(number).permutation(16)
    for place, source in enumerate(int(i) for i in order):
        left, top = source % 4 * w, source // 4 * h
        out.paste(picture.crop((left, top, left + w, top + h)), (place % 4 * w, place // 4 * h))
    return out


def _zoomed(picture: Image.Image, number: int) -> Image.Image:
    width, height = picture.size
    box = (width // 4, height // 4, width - width // 4, height - height // 4)
    return picture.crop(box).resize(picture.size)


def _noisy(picture: Image.Image, number: int) -> Image.Image:
    pixels = np.asarray(picture, dtype=np.float32)
    noise = np.random.default_rng(number).normal(0.0, 50.0, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def _jpeg(picture: Image.Image, number: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=5)
    return Image.open(file).convert("RGB")


def _several(picture: Image.Image, number: int) -> Image.Image:
    out = Image.new("RGB", picture.size)
    half = (max(1, picture.width // 2), max(1, picture.height // 2))
    small = picture.resize(half)
    for left in (0, half[0]):
        for top in (0, half[1]):
            out.paste(small, (left, top))
    return out


def _typographic(picture: Image.Image, number: int) -> Image.Image:
    out = picture.copy()
    word = ("cat", "dog", "car", "shoe", "tree", "fish")[number % 6]
    ImageDraw.Draw(out).text((out.width // 8, out.height // 3), word, fill="black", stroke_width=1)
    return out


def _drawn(picture: Image.Image, number: int) -> Image.Image:
    return ImageOps.invert(picture.convert("L").filter(ImageFilter.FIND_EDGES))


def _turned(how: Image.Transpose) -> Callable[[Image.Image, int], Image.Image]:
    return lambda picture, number: picture.transpose(how)


def _brightness(factor: float) -> Callable[[Image.Image, int], Image.Image]:
    return lambda picture, number: ImageEnhance.Brightness(picture).enhance(factor)


def _contrast(factor: float) -> Callable[[Image.Image, int], Image.Image]:
    return lambda picture, number: ImageEnhance.Contrast(picture).enhance(factor)


def _blurred(picture: Image.Image, number: int) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(max(picture.size) / 24))


OPERATIONS: dict[str, Operation] = {
    "left_rotate": Operation(
        "geometric",
        "a photo rotated to the left",
        "rotate it to the left",
        _turned(Image.Transpose.ROTATE_90),
    ),
    "right_rotate": Operation(
        "geometric",
        "a photo rotated to the right",
        "rotate it to the right",
        _turned(Image.Transpose.ROTATE_270),
    ),
    "vertical_flip": Operation(
        "geometric", "a photo upside down", "turn it upside down", _turned(Image.Transpose.FLIP_TOP_BOTTOM)
    ),
    "crop_and_zoom": Operation("geometric", "a photo zoomed in", "zoom in on its middle", _zoomed),
    "patch_and_reshuffle": Operation(
        "geometric", "a photo in shuffled patches", "cut it into patches and shuffle them", _reshuffled
    ),
    "gaussian_noise": Operation("pixel", "a noisy photo", "add noise to it", _noisy),
    "defocus_blur": Operation("pixel", "a blurred photo", "blur it", _blurred),
    "low_brightness": Operation("pixel", "a dark photo", "make it darker", _brightness(0.35)),
    "high_brightness": Operation("pixel", "a bright photo", "make it brighter", _brightness(1.9)),
    "low_contrast": Operation("pixel", "a photo of low contrast", "lower its contrast", _contrast(0.3)),
    "high_contrast": Operation("pixel", "a photo of high contrast", "raise its contrast", _contrast(2.5)),
    "jpeg_compress": Operation("pixel", "a strongly compressed photo", "compress it strongly", _jpeg),
    "pencil_sketch": Operation("style", "a pencil sketch", "draw it with a pencil", _drawn),
    "multi_same": Operation(
        "semantic", "a photo of the same thing four times", "show it four times", _several
    ),
    "typographic": Operation(
        "semantic", "a photo with a wrong word on it", "write a wrong word on it", _typographic
    ),
}
