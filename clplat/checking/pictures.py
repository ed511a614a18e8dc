"""Looks at every picture of a stream, in worker processes: whether it can be read, and what it looks like."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from clplat.data.records import Picture

__all__ = ["Look", "look_at", "looks_of"]

_BATCH = 16


@dataclass(frozen=True)
class Look:
    """What is known of a picture once it was decoded.

    Args:
        digest: of its pixels; empty where it cannot be read.
        hash: 64 bits that pictures which look alike share but for a few, see `looks_of`.
        error: why it cannot be read.
    """

    digest: str = ""
    hash: int = 0
    error: str = ""


def look_at(
    pictures: Sequence[Picture], workers: int = 0, said: Callable[[int], None] = lambda done: None
) -> dict[str, Look]:
    """Decode pictures, each once; key -> what was seen.

    Args:
        pictures: with distinct keys.
        workers: processes that decode; 0: this one.
        said: told after every few pictures how many are done.
    """
    loader: DataLoader[Any] = DataLoader(
        _Looks(pictures), batch_size=_BATCH, num_workers=workers, collate_fn=list
    )
    found: list[Look] = []
    for batch in loader:
        found += batch
        said(len(found))
    return {picture.key: look for picture, look in zip(pictures, found, strict=True)}


class _Looks(Dataset[Look]):
    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: int) -> Look:
        try:
            return looks_of(self.pictures[place].load())
        except Exception as error:  # codecs raise whatever they like
            return Look(error=" ".join(str(error).split()) or type(error).__name__)


def looks_of(picture: Image.Image) -> Look:
    """The digest of a picture's pixels, and its difference hash.

    The hash says of 8 x 8 places of a grey copy of 9 x 8 whether it is brighter there than to the right.

    Example:
        >>> ramp = Image.linear_gradient("L").rotate(90)
        >>> bin(looks_of(ramp).hash ^ looks_of(ramp.resize((50, 50))).hash).count("1") < 4
        True
    """
    shown = picture.convert("RGB")
    digest = hashlib.blake2b(repr(shown.size).encode() + shown.tobytes(), digest_size=16).hexdigest()
    grey = np.asarray(shown.convert("L").resize((9, 8), Image.Resampling.BOX)).astype(int)
    bits = np.packbits(grey[:, :-1] > grey[:, 1:])
    return Look(digest, int.from_bytes(bits.tobytes(), "big"))
