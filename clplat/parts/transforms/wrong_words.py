"""Typed negative texts, one of each type, as CE-CLIP makes them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import ClassVar, Literal

import torch

from clplat.data.records import Candidate, Example, Item
from clplat.mechanisms.words import replacements, swapped_words
from clplat.parts.transforms._base import Transform, target_text

__all__ = ["WrongWords"]


class WrongWords(Transform):
    """Adds the target's text made wrong in four ways: a relation, an attribute, an object, an action.

    The relation is wrong where two nouns are swapped; attribute, object and action where an adjective, a noun
    or a verb is replaced by another that excludes it. A type that a text does not allow is left out.

    Args:
        scope: ``"batch"``: a negative for every query of the batch; ``"anchor"``: for its own only.

    Reference:
        Zhang et al., "Contrasting Intra-Modal and Ranking Cross-Modal Hard Negatives to Enhance
        Visio-Linguistic Compositional Understanding", CVPR 2024, arXiv:2306.08832.

    Example:
        >>> from clplat.data.records import Pair
        >>> pair = Pair("0", "ein Bild", "a red bag with a bow", "bags")
        >>> [n.kind for n in WrongWords()(pair, torch.Generator()).negatives]
        ['relation', 'attribute', 'object']
    """

    needs_text: ClassVar[bool] = True

    def __init__(self, scope: Literal["batch", "anchor"] = "batch") -> None:
        if scope not in ("batch", "anchor"):
            raise ValueError(f"scope must be 'batch' or 'anchor', not '{scope}'")
        self.scope = scope

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        text = target_text(example, "wrong_words")
        made = []
        for kind, wrong in _wrong(text):
            chosen = int(torch.randint(max(1, len(wrong)), (1,), generator=draw))
            if wrong:
                item = Item.of(example.target.picture, wrong[chosen])
                made.append(Candidate(item, wrong[chosen], kind, self.scope))
        return replace(example, negatives=(*example.negatives, *made))


@lru_cache(maxsize=1 << 16)  # a text comes back every epoch
def _wrong(text: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Of each type every text that it makes of this one."""
    return (
        ("relation", tuple(swapped_words(text, "noun"))),
        ("attribute", tuple(replacements(text, "adjective"))),
        ("object", tuple(replacements(text, "noun"))),
        ("action", tuple(replacements(text, "verb"))),
    )
