"""Negative texts by words in each other's place, as NegCLIP makes them."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import ClassVar, Literal

import torch

from clplat.data.records import Candidate, Example, Item
from clplat.mechanisms.words import swapped_phrases, swapped_words
from clplat.parts.transforms._base import Transform, target_text

__all__ = ["SwappedWords"]

_KINDS = ("noun", "adjective", "adverb", "verb")


class SwappedWords(Transform):
    """Adds the target's text with two words or noun phrases swapped: all words right, what they say wrong.

    Swapped are two nouns, adjectives, adverbs, verbs or noun phrases, drawn anew at every moment of training.
    A text that swapping cannot make wrong gets no negative.

    Args:
        count: negatives per example, at most.
        scope: ``"batch"``: a negative for every query of the batch; ``"anchor"``: for its own only.

    Reference:
        Yuksekgonul et al., "When and why vision-language models behave like bags-of-words, and what to do
        about it?", ICLR 2023, arXiv:2210.01936.

    Example:
        >>> from clplat.data.records import Pair
        >>> pair = Pair("0", "ein Bild", "a dog on a horse", "animals")
        >>> {n.item.text for n in SwappedWords(count=9)(pair, torch.Generator()).negatives}
        {'a horse on a dog'}
    """

    needs_text: ClassVar[bool] = True

    def __init__(self, count: int = 1, scope: Literal["batch", "anchor"] = "batch") -> None:
        if count < 1:
            raise ValueError(f"count must be at least 1, not {count}")
        if scope not in ("batch", "anchor"):
            raise ValueError(f"scope must be 'batch' or 'anchor', not '{scope}'")
        self.count, self.scope = count, scope

    def __call__(self, example: Example, draw: torch.Generator) -> Example:
        text = target_text(example, "swapped_words")
        wrong = _wrong(text)
        chosen = torch.randperm(len(wrong), generator=draw)[: self.count].tolist()
        made = [self._negative(example, *wrong[i]) for i in chosen]
        return replace(example, negatives=(*example.negatives, *made))

    def _negative(self, example: Example, text: str, kind: str) -> Candidate:
        # Its label says what it says: where the same words are right, they are no negative.
        return Candidate(Item.of(example.target.picture, text), text, kind, self.scope)


@lru_cache(maxsize=1 << 16)  # a text comes back every epoch
def _wrong(text: str) -> tuple[tuple[str, str], ...]:
    """Every text that a swap makes wrong, with its kind."""
    wrong = {other: f"swapped_{kind}" for kind in _KINDS for other in swapped_words(text, kind)}
    for other in swapped_phrases(text):
        wrong.setdefault(other, "swapped_phrase")
    return tuple((other, kind) for other, kind in wrong.items() if other != text)
