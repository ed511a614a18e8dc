"""Pictures to pixels: CLIP's preprocessing to uint8, and a store in memory.

Mean and standard deviation belong to the backbone; everything before them happens here, once per picture.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from clplat.data.decoding import to_rgb
from clplat.data.inputs import Images
from clplat.data.records import Picture
from clplat.errors import UserError, unknown_name

#: Sides of a resized picture, in those of its crop, beyond which the crop alone is computed.
_LONG = 32


class Preprocess:
    """CLIP's evaluation preprocessing of a PIL picture up to uint8, without mean and standard deviation.

    Args:
        size: side of the square picture, in pixels.
        kind: ``"clip"`` resizes the shorter side (bicubic) and crops the centre, as open_clip does;
            ``"targetpad"`` first pads the short side with black until long / short is ``ratio``.
        ratio: the target ratio of ``"targetpad"``; pictures below it are not padded.
        resize: ``"squash"`` resizes both sides to ``size`` instead, whatever that does to proportions: the
            backbone's own ``resize_mode``, that of SigLIP.
        draft: JPEGs are decoded no larger than needed, at this many times ``size`` or more on their shorter
            side; 0 decodes all pixels.

    Reference:
        ``targetpad``: Baldrati et al., "Effective Conditioned and Composed Image Retrieval Combining
        CLIP-based Features" (CVPR 2022).

    Example:
        >>> Preprocess(32)(Image.new("RGB", (64, 40))).shape
        torch.Size([3, 32, 32])
    """

    def __init__(
        self,
        size: int,
        kind: Literal["clip", "targetpad"] = "clip",
        ratio: float = 1.25,
        resize: str = "shortest",
        draft: int = 0,
    ) -> None:
        if kind not in ("clip", "targetpad"):
            raise unknown_name("preprocessing", kind, ("clip", "targetpad"))
        if resize not in ("shortest", "squash"):
            raise unknown_name("resize mode", resize, ("shortest", "squash"))
        if size < 1 or ratio < 1 or draft < 0:
            given = f"{size}, {ratio} and {draft}"
            raise UserError(f"preprocessing needs size >= 1, ratio >= 1 and draft >= 0, not {given}")
        self.size = size
        self.kind = kind
        self.ratio = ratio
        self.resize = resize
        self.draft = draft

    def of(self, picture: Picture) -> Tensor:
        """Read a picture and return it as `__call__` does.

        Raises:
            BadPicture: it cannot be read.
        """
        return self(picture.read(self.draft * self.size))

    def __call__(self, picture: Image.Image) -> Tensor:
        """Return the picture as a uint8 tensor of shape (3, size, size)."""
        picture = to_rgb(picture)
        if self.kind == "targetpad":
            picture = self._pad(picture)
        if self.resize == "squash" and picture.size != (self.size, self.size):
            picture = picture.resize((self.size, self.size), Image.Resampling.BICUBIC)
        width, height = picture.size
        short = min(width, height)
        # Rounded as torchvision's Resize and CenterCrop round: down for the long side, to even for the crop.
        width, height = int(self.size * width / short), int(self.size * height / short)
        left, top = round((width - self.size) / 2), round((height - self.size) / 2)
        crop = (left, top, left + self.size, top + self.size)
        if max(width, height) > _LONG * self.size:
            # A picture of 20,000 x 1 pixels would become one of 4,480,000 x 224 first.
            x, y, right, bottom = (edge * short / self.size for edge in crop)
            box = (x, y, right, bottom)
            picture = picture.resize((self.size, self.size), Image.Resampling.BICUBIC, box)
        elif (width, height) != picture.size:
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        if picture.size != (self.size, self.size):
            picture = picture.crop(crop)
        return torch.from_numpy(np.asarray(picture).transpose(2, 0, 1).copy())  # torch would wake its threads

    def _pad(self, picture: Image.Image) -> Image.Image:
        width, height = picture.size
        if max(width, height) / min(width, height) < self.ratio:
            return picture
        if max(width, height) > _LONG * max(min(width, height), self.size):
            # Padding would make it enormous; its short side is nothing beside the black in any case.
            scale = 4 * self.size / max(width, height)
            width, height = max(1, round(width * scale)), max(1, round(height * scale))
            picture = picture.resize((width, height), Image.Resampling.BICUBIC)
        wanted = max(width, height) / self.ratio
        across, down = max(int((wanted - width) / 2), 0), max(int((wanted - height) / 2), 0)
        return ImageOps.expand(picture, (across, down, across, down), fill=0)

    def fingerprint(self) -> str:
        """All that determines the pixels, in words: part of every cache key and of the logged protocol."""
        kind = self.kind if self.kind == "clip" else f"{self.kind}{self.ratio:g}"
        mode = "" if self.resize == "shortest" else f"-{self.resize}"
        draft = f"-draft{self.draft}" if self.draft else ""
        return f"{kind}-{self.size}{mode}{draft}-bicubic-pil-uint8-v1"


class KeptPixels(Protocol):
    """Where pixels are kept for other processes and later days: a table of the feature store."""

    def missing(self, names: Sequence[str]) -> list[str]: ...

    def put(self, names: Sequence[str], rows: Tensor) -> None: ...

    def rows(self, names: Sequence[str]) -> Tensor: ...


class PixelStore:
    """Preprocessed pictures: each is decoded once while the limit allows, or for good with ``at_rest``.

    Args:
        preprocess: how a picture becomes pixels.
        limit_bytes: of pixels in memory; beyond it the least recently used go first. 0 keeps nothing.
        at_rest: rows on disk, by content, for pictures that will be needed again.

    Attributes:
        asked: pictures requested so far.
        decoded: pictures decoded so far.
    """

    def __init__(
        self, preprocess: Preprocess, limit_bytes: int = 1 << 30, at_rest: KeptPixels | None = None
    ) -> None:
        self.preprocess = preprocess
        self.limit_bytes = limit_bytes
        self.at_rest = at_rest
        self.asked = 0
        self.decoded = 0
        self._kept: OrderedDict[str, Tensor] = OrderedDict()

    def images(self, pictures: Sequence[Picture]) -> Images:
        """The pictures by name; decoded when their pixels are read.

        Example:
            >>> shown = Picture("white", lambda: Image.new("RGB", (9, 9), "white"))
            >>> PixelStore(Preprocess(8)).images([shown]).pixels.shape
            torch.Size([1, 3, 8, 8])
        """
        pictures = list(pictures)
        kind = "" if any(picture.once for picture in pictures) else self.preprocess.fingerprint()
        return Images(
            [picture.content for picture in pictures],
            lambda rows, again: self.get([pictures[i] for i in rows], again),
            kind,
            [picture.caption or "" for picture in pictures],
        )

    def get(self, pictures: Sequence[Picture], again: bool = True) -> Tensor:
        """Return the pixels of N pictures: (N, 3, S, S) uint8. A picture is decoded once per call, at most.

        Args:
            again: they will be needed in later passes too, so that it pays to keep them at rest.

        Raises:
            BadPicture: a picture cannot be read.
        """
        self.asked += len(pictures)
        if not pictures:
            return torch.empty((0, 3, self.preprocess.size, self.preprocess.size), dtype=torch.uint8)
        if any(picture.once for picture in pictures):
            return torch.stack(self._decoded(pictures))
        names = [picture.content for picture in pictures]
        absent = set(self.at_rest.missing(names)) if self.at_rest is not None else set()
        if self.at_rest is not None and (again or not absent):
            fresh = {name: picture for name, picture in zip(names, pictures, strict=True) if name in absent}
            if fresh:
                self.at_rest.put(list(fresh), torch.stack(self._decoded(list(fresh.values()))))
            return self.at_rest.rows(names)
        ready = dict(zip(names, pictures, strict=True))
        order = sorted(ready, key=lambda name: _place(ready[name]))
        rows = {name: self._from_memory(name, ready[name]) for name in order}
        return torch.stack([rows[name] for name in names])

    def _decoded(self, pictures: Sequence[Picture]) -> list[Tensor]:
        order = sorted(range(len(pictures)), key=lambda i: _place(pictures[i]))
        found = {i: self._decode(pictures[i]) for i in order}
        return [found[i] for i in range(len(pictures))]

    def _decode(self, picture: Picture) -> Tensor:
        self.decoded += 1
        return self.preprocess.of(picture)

    def _from_memory(self, name: str, picture: Picture) -> Tensor:
        pixels = self._kept.get(name)
        if pixels is None:
            pixels = self._kept[name] = self._decode(picture)
        self._kept.move_to_end(name)
        if len(self._kept) > self.limit_bytes // (3 * self.preprocess.size**2):
            self._kept.popitem(last=False)
        return pixels


def _place(picture: Picture) -> tuple[str, int]:
    """Pictures of one file are read in its order, forward; all others in their own, before them."""
    return picture.place or ("", 0)
