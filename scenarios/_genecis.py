"""Pictures of GeneCIS: those of COCO whole, and crops of Visual Genome's, each made once."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from PIL import Image

from clplat.data.items import Picture
from clplat.data.picture_files import PictureFiles

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Box", "Crops", "crop"]

Box = tuple[float, float, float, float]
_DILATION = 0.7


class Crops:
    """Crops of pictures by picture and box; equal ones are the same object.

    Args:
        files: the whole pictures.
    """

    def __init__(self, files: PictureFiles) -> None:
        self.files, self._made = files, dict[tuple[str, Box], Picture]()

    def picture(self, name: str, box: Box) -> Picture:
        """The crop of a box (left, top, width, height) of a picture."""
        made = self._made.get((name, box))
        if made is None:
            whole = self.files.picture(name)
            key = f"{whole.key}@{','.join(f'{side:g}' for side in box)}"
            made = replace(whole, key=key, load=partial(_load, whole.load, box), sized=None)
            self._made[name, box] = made
        return made

    @property
    def absent(self) -> tuple[str, ...]:
        """Keys of the crops whose picture is not there."""
        gone = {self.files.picture(name).key: name for name, _ in self._made}
        lost = {gone[key] for key in self.files.absent if key in gone}
        return tuple(made.key for (name, _), made in self._made.items() if name in lost)


def _load(whole: Callable[[], Image.Image], box: Box) -> Image.Image:
    return crop(whole(), box)


def crop(picture: Image.Image, box: Box) -> Image.Image:
    """A box widened by 0.7 of its size to each side, as far as the picture goes, centred on a black square.

    The far sides are measured from the near ones after these were cut, as the public code does: a box at the
    left border reaches 1.7 of its width to the right.

    Args:
        picture: in RGB.
        box: left, top, width, height in pixels.

    Example:
        >>> crop(Image.new("RGB", (100, 80), "red"), (0, 0, 20, 10)).size
        (34, 34)
    """
    left, top = max(0.0, box[0] - _DILATION * box[2]), max(0.0, box[1] - _DILATION * box[3])
    right = min(picture.width, left + (1 + _DILATION) * box[2])
    bottom = min(picture.height, top + (1 + _DILATION) * box[3])
    cut = picture.crop((left, top, right, bottom))  # rounded there
    side = max(cut.size)
    square = Image.new("RGB", (side, side))
    square.paste(cut, ((side - cut.width) // 2, (side - cut.height) // 2))
    return square
