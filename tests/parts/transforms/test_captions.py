"""Pairs of pictures and captions from triplets."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clplat.data.records import Candidate, Example, Item
from clplat.parts.transforms.captions import Captions
from clplat.testing import tiny_domains

TRIPLET = tiny_domains()[0].train[0]


def made(example: Example) -> Example:
    return Captions()(example, torch.Generator())


def test_the_target_asks_and_its_caption_answers() -> None:
    pair = made(replace(TRIPLET, weight=2.0, groups={"a": "b"}))
    assert pair.query == Item.of(TRIPLET.target.picture) and pair.target == Item.of(text="a green square")
    assert (pair.label, pair.weight, pair.groups) == ("a green square", 2.0, {"a": "b"})


def test_near_misses_become_negative_texts() -> None:
    shown = tiny_domains()[0].train
    near = [Candidate(shown[i].target, "x", "near_miss", "anchor") for i in (0, 1, 2)]
    pair = made(replace(TRIPLET, negatives=tuple(near)))
    told = [(n.item.text, n.label, n.kind, n.scope) for n in pair.negatives]
    assert told == [(f"a {c} square", f"a {c} square", "near_miss", "anchor") for c in ("blue", "yellow")]


def test_a_picture_without_a_caption_is_named() -> None:
    assert TRIPLET.target.picture is not None
    bare = replace(TRIPLET, target=Item.of(replace(TRIPLET.target.picture, caption=None)))
    with pytest.raises(ValueError, match=r"picture 'tiny/.*' of example 'frame-none/0' has none"):
        made(bare)
    with pytest.raises(
        ValueError, match="captions needs a picture as target; example 'frame-none/0' has none"
    ):
        made(replace(TRIPLET, target=Item.of(text="red")))
