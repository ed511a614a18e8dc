"""Negation, drawn: what a caption says is not there."""

from __future__ import annotations

from clplat.parts import Contrast, Contrasts

from .._catalogue.domains import picture
from .._catalogue.items import ATTRIBUTES, CATEGORIES, generator, sample_item
from .._catalogue.styles import GENERAL
from .._catalogue.wording import DETAILS, NOUNS

__all__ = ["Negation"]

_SAID = {
    "positive": "{thing} with {one}",
    "negative": "{thing} without {other}",
    "hybrid": "{thing} with {one} but without {other}",
}


class Negation(Contrasts):
    """Multiple-choice questions of four captions about drawn products, in the templates of NegBench.

    A product with a belt and without a bow is asked about three times: "with a belt", "without a bow" and
    both are right; the wrong captions say each of it with belt and bow in each other's place.

    Args:
        count: pictures, each of three questions.
        seed: of what is drawn; one for all experiments.
        size: width and height in pixels at which pictures are drawn.

    Raises:
        ValueError: no pictures.

    Reference:
        The task is that of Alhamoud et al., "Vision-Language Models Do Not Understand Negation", CVPR 2025,
        arXiv:2501.09425.

    Example:
        >>> Negation(count=1).cases[1].right
        ('a dress without buttons',)
    """

    def __init__(self, count: int = 60, seed: int = 0, size: int = 96) -> None:
        self.count, self.seed, self.size = count, seed, size
        if not 1 <= count <= 10_000 or not 16 <= size <= 1024:
            raise ValueError(f"needs 1 to 10000 pictures of 16 to 1024 pixels, not {count} of {size}")
        rng, cases = generator("negation", seed), []
        for i in range(count):
            category = CATEGORIES[i % len(CATEGORIES)]
            details = ATTRIBUTES[category]["detail"][1:]
            one, other = (details[int(j)] for j in rng.permutation(len(details))[:2])
            item = sample_item(category, rng).replace("detail", one)
            shown = picture(item, GENERAL, f"negation/{seed}/{i}", size)
            asked = _asked(category, one, other)
            cases += [Contrast(shown, (right,), wrong, kind) for kind, right, wrong in asked]
        super().__init__("negation", cases)


def _asked(category: str, one: str, other: str) -> list[tuple[str, str, tuple[str, ...]]]:
    thing = f"{'a pair of' if category == 'trousers' else 'a'} {NOUNS[category][0]}"
    true, false = (
        [said.format(thing=thing, one=DETAILS[here], other=DETAILS[there]) for said in _SAID.values()]
        for here, there in ((one, other), (other, one))
    )
    return [(kind, text, tuple(false)) for kind, text in zip(_SAID, true, strict=True)]
