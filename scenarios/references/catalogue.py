"""Drawn products of all categories beside the stream."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from clplat.data.records import Picture
from clplat.parts.references._base import Reference

from .._catalogue import pretraining_pairs

__all__ = ["CatalogueReference"]


class CatalogueReference(Reference):
    """Pictures in the general style, which no domain has, and descriptions of other products.

    What ImageNet and Conceptual Captions are to ZSCL: as broad as the pretraining, in no domain of the
    stream, and pictures and texts that have nothing to do with each other.

    Args:
        pictures_held: how many pictures.
        texts_held: how many descriptions; equal ones count once.
        size: width and height in pixels at which pictures are drawn.
        seed: of what is drawn, and of the draws from it; by default the experiment's.

    Example:
        >>> reference = CatalogueReference(pictures_held=3, texts_held=2, seed=0)
        >>> len(reference.pictures()), len(reference.texts())
        (3, 2)
    """

    def __init__(
        self, pictures_held: int = 400, texts_held: int = 400, size: int = 96, seed: int | None = None
    ) -> None:
        if min(pictures_held, texts_held) < 1:
            raise ValueError(f"there must be pictures and texts, not {pictures_held} and {texts_held}")
        self.pictures_held, self.texts_held = pictures_held, texts_held
        self.size, self.seed = size, seed

    def pictures(self) -> Sequence[Picture]:
        return self._shown

    def texts(self) -> Sequence[str]:
        return self._said

    @cached_property
    def _shown(self) -> list[Picture]:
        # The seeds of the pretraining's own pictures are small numbers.
        return pretraining_pairs(self.pictures_held, 1_000_000 + (self.seed or 0), self.size)

    @cached_property
    def _said(self) -> list[str]:
        others = pretraining_pairs(self.texts_held, 2_000_000 + (self.seed or 0), self.size)
        return [*dict.fromkeys(str(other.caption) for other in others)]
