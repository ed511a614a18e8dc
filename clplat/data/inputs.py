"""What goes into the towers: pictures and texts by name, so that what is kept of them can be found again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["Images", "Texts"]


class Images:
    """Pictures by name, and their pixels only on request: what is cached is never decoded.

    Args:
        names: N keys; equal keys of one ``kind`` are the same pixels.
        load: positions -> their pixels (n, 3, S, S), uint8. The second argument says whether they will be
            needed again, so that it pays to keep them.
        kind: how pictures became pixels; empty where that is not known: nothing is then kept of them.
        captions: what they show, in words, "" where that is not known.

    Example:
        >>> pictures = Images.of(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), names=["a", "b"])
        >>> len(pictures), pictures.part([1]).names
        (2, ['b'])
    """

    def __init__(
        self,
        names: Sequence[str],
        load: Callable[[Sequence[int], bool], Tensor],
        kind: str = "",
        captions: Sequence[str] = (),
    ) -> None:
        self.names, self.kind, self._load = list(names), kind, load
        self.captions = list(captions) or [""] * len(self.names)
        self._pixels: Tensor | None = None

    @classmethod
    def of(
        cls, pixels: Tensor, names: Sequence[str] = (), kind: str = "", captions: Sequence[str] = ()
    ) -> Images:
        """Pictures whose pixels (N, 3, S, S) are there already."""
        images = cls(names or [""] * len(pixels), lambda rows, _: pixels[list(rows)], kind, captions)
        images._pixels = pixels
        return images

    def __len__(self) -> int:
        return len(self.names)

    @property
    def loaded(self) -> bool:
        """Whether the pixels are in memory."""
        return self._pixels is not None

    @property
    def pixels(self) -> Tensor:
        """All pixels (N, 3, S, S); decoded at the first call, then kept."""
        if self._pixels is None:
            self._pixels = self._load(range(len(self)), True)
        return self._pixels

    def at(self, rows: Sequence[int], again: bool = True) -> Tensor:
        """Pixels of a few; ``again``: they will be needed in later passes too."""
        return self._pixels[list(rows)] if self._pixels is not None else self._load(rows, again)

    def part(self, rows: Sequence[int]) -> Images:
        """The pictures at these positions."""
        rows = list(rows)
        names, captions = [self.names[i] for i in rows], [self.captions[i] for i in rows]
        part = Images(names, lambda own, again: self.at([rows[i] for i in own], again), self.kind, captions)
        if self._pixels is not None:
            part._pixels = self._pixels[rows]
        return part

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Images:
        """The same pictures with changed pixels: moved to a device, pinned."""
        load = self._load
        moved = Images(self.names, lambda rows, again: change(load(rows, again)), self.kind, self.captions)
        moved._pixels = change(self._pixels) if self._pixels is not None else None
        return moved

    def __reduce__(self) -> tuple[Any, ...]:
        # What loads them may not be sendable to another process: their pixels are.
        return Images.of, (self.pixels, self.names, self.kind, self.captions)


class Texts:
    """Token ids (N, L) of texts on any device, and a name for each that says all that a tower sees of it.

    ``said`` are the texts themselves; their names, where those are not known.

    Example:
        >>> Texts(torch.tensor([[7, 5, 9, 0, 0]])).names
        ['7 5 9 0']
    """

    def __init__(self, ids: Tensor, names: Sequence[str] = (), said: Sequence[str] = ()) -> None:
        self.ids = ids
        self.names = list(names) or [_text_name(row) for row in ids.tolist()]
        self.said = list(said) or self.names

    def __len__(self) -> int:
        return len(self.names)

    @property
    def lengths(self) -> list[int]:
        """Tokens of each text up to its EOT, or one more; known without reading from a device."""
        return [name.count(" ") + 1 for name in self.names]

    def part(self, rows: Sequence[int]) -> Texts:
        """The texts at these positions."""
        rows = list(rows)
        return Texts(self.ids[rows], [self.names[i] for i in rows], [self.said[i] for i in rows])

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Texts:
        """The same texts with changed ids: moved to a device, pinned."""
        return Texts(change(self.ids), self.names, self.said)

    def to(self, device: torch.device | str) -> Texts:
        """Move the ids."""
        return self.mapped(lambda ids: ids.to(device, non_blocking=True))


def _text_name(ids: list[int]) -> str:
    """The ids with the padding at the end written once; rows of one length stay distinct."""
    end = len(ids)
    while end > 1 and ids[end - 2] == ids[-1]:
        end -= 1
    return " ".join(map(str, ids[:end]))
