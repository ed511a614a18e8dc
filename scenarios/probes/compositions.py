"""SugarCrepe++ in drawn pictures: other words for the same product, and the same words for another."""

from __future__ import annotations

from clplat.parts import Contrast, Contrasts, Probe, Probes

from .._catalogue.domains import picture
from .._catalogue.items import CATEGORIES, generator, sample_item, vary
from .._catalogue.language import describe, retold
from .._catalogue.styles import GENERAL

__all__ = ["Compositions"]

_REPLACED = ("colour", "pattern", "detail")


class Compositions(Probes):
    """Drawn products with two captions of the same meaning, and one that replaces an attribute.

    One probe per attribute: ``compositions/colour``, ``compositions/pattern`` and ``compositions/detail``.
    ``accuracy`` is the image-to-text task of SugarCrepe++, ``text accuracy`` its text-only task. Products are
    alone in their pictures, so that nothing can be swapped between two.

    Args:
        count: pictures per probe.
        seed: of what is drawn; one for all experiments.
        size: width and height in pixels at which pictures are drawn.

    Raises:
        ValueError: no pictures.

    Reference:
        The task is that of Dumpala et al., "SUGARCREPE++ Dataset", NeurIPS 2024, arXiv:2406.11171.

    Example:
        >>> case = Compositions(count=1).build()[0].cases[0]
        >>> case.right[1]
        'a dress that has a belt, has short sleeves, is knee length, is checked and is blue'
        >>> case.wrong[0]
        'a knee length purple checked dress with short sleeves and a belt'
    """

    def __init__(self, count: int = 40, seed: int = 0, size: int = 96) -> None:
        self.count, self.seed, self.size = count, seed, size
        if not 1 <= count <= 10_000 or not 16 <= size <= 1024:
            raise ValueError(f"needs 1 to 10000 pictures of 16 to 1024 pixels, not {count} of {size}")

    def build(self) -> list[Probe]:
        """One probe per attribute that is replaced."""
        return [self._probe(attribute) for attribute in _REPLACED]

    def _probe(self, attribute: str) -> Probe:
        rng, cases = generator("compositions", attribute, self.seed), []
        for i in range(self.count):
            item = sample_item(CATEGORIES[i % len(CATEGORIES)], rng)
            other = describe(vary(item, [attribute], rng))
            shown = picture(item, GENERAL, f"compositions/{attribute}/{self.seed}/{i}", self.size)
            cases.append(Contrast(shown, (describe(item), retold(item)), (other,)))
        return Contrasts(f"compositions/{attribute}", cases)
