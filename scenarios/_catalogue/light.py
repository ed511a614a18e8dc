"""Pixels, noise and shadows: what the rendering styles are made with."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from .items import generator

__all__ = ["Pixels", "grain", "grid", "grow", "noise", "over", "pixels", "rgb", "rolled", "shadow"]

Pixels: TypeAlias = NDArray[np.floating[Any]]


def rgb(red: float, green: float, blue: float) -> Pixels:
    """A colour, or a factor per channel."""
    return np.array([red, green, blue], dtype=np.float32)


def pixels(image: Image.Image) -> Pixels:
    """Values 0..255 of shape (height, width, channels)."""
    out = np.asarray(image, dtype=np.float32)
    return out if out.ndim == 3 else out[..., None]


def over(back: Pixels, front: Pixels, mask: Image.Image) -> Pixels:
    """Lay the front on the back where the mask covers it."""
    cover = pixels(mask) / 255
    return back + (front - back) * cover


@lru_cache(maxsize=16)
def grid(size: int) -> tuple[Pixels, Pixels]:
    """Columns x and rows y in 0..1, of shape (size, size, 1)."""
    line = (np.arange(size, dtype=np.float32) + 0.5) / size
    y, x = np.meshgrid(line, line, indexing="ij")
    return x[..., None], y[..., None]


@lru_cache(maxsize=64)
def noise(size: int, across: int, down: int) -> Pixels:
    """Smooth noise of unit variance with about ``across`` x ``down`` bumps. It is fixed: see `rolled`."""
    rough = generator("noise", across, down).standard_normal((down, across)).astype(np.float32)
    fine = np.asarray(Image.fromarray(rough).resize((size, size), Image.Resampling.BICUBIC))
    return np.asarray(fine / fine.std(), dtype=np.float32)[..., None]


def rolled(field: Pixels, rng: np.random.Generator) -> Pixels:
    """A field turned round by a random offset: another noise for every picture, at no cost."""
    down, across = (int(v) for v in rng.integers(field.shape[0], size=2))
    return np.roll(field, (down, across), (0, 1))


def grain(size: int, rng: np.random.Generator) -> Pixels:
    """White noise of unit variance."""
    return rolled(noise(size, size, size), rng)


def shadow(mask: Image.Image, dx: float, dy: float, blur: float) -> Pixels:
    """A shifted and blurred copy of the mask, 0..1; lengths in picture widths."""
    size = mask.width
    moved = Image.new("L", mask.size)
    moved.paste(mask, (round(dx * size), round(dy * size)))
    return pixels(moved.filter(ImageFilter.BoxBlur(blur * size))) / 255


def grow(mask: Image.Image, by: float) -> Image.Image:
    """The mask and all within ``by`` picture widths of it."""
    near = mask.filter(ImageFilter.BoxBlur(by * mask.width))
    return near.point([min(255, 12 * level) for level in range(256)])
