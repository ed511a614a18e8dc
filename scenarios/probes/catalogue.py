"""The drawn catalogue's probes: general retrieval and zero-shot classification."""

from __future__ import annotations

from typing import ClassVar

from clplat.parts import Probe, Probes

from .._catalogue import probes

__all__ = ["CatalogueProbes"]


class CatalogueProbes(Probes):
    """Drawn products of all categories: 120 described pictures for retrieval, 18 classes for classification.

    Args:
        seed: of what is drawn; one for all experiments, so that their zero-shot numbers can be compared.
        size: width and height in pixels at which pictures are drawn.

    Example:
        >>> [probe.name for probe in CatalogueProbes().build()]
        ['general-retrieval', 'general-classification']
    """

    stands_in: ClassVar[bool] = True

    def __init__(self, seed: int = 0, size: int = 96) -> None:
        self.seed, self.size = seed, size

    def build(self) -> list[Probe]:
        return probes(self.seed, self.size)
