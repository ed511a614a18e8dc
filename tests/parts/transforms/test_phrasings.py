"""Texts that say the same, of which training draws one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from clplat.parts.transforms.phrasings import Phrasings
from clplat.randomness import generator
from clplat.testing import tiny_domains


def test_each_is_drawn_as_often_and_an_empty_one_never() -> None:
    [example, *_] = tiny_domains()[0].train
    texts = ["a and b", "b and a", "a", "b"]
    several = replace(example, extra={"phrasings": [*texts, " "]})
    drawn = [Phrasings()(several, generator(0, moment)) for moment in range(2000)]
    assert all(one.reference is example.reference and one.target is example.target for one in drawn)
    assert all(400 < count < 600 for count in Counter(one.text for one in drawn).values())
    assert {one.text for one in drawn} == set(texts)
    assert Phrasings()(example, generator(0)) is example, "an example with one text"
