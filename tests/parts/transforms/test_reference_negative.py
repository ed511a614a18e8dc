"""The reference as a wrong answer."""

from __future__ import annotations

from dataclasses import replace

import torch

from clplat.data.records import Example, Item, Picture
from clplat.parts.transforms.reference_negative import ReferenceNegative
from clplat.testing import tiny_collate, tiny_domains

TRIPLET = tiny_domains()[0].train[0]


def made(example: Example, caption: bool = False) -> Example:
    return ReferenceNegative(caption)(example, torch.Generator())


def test_only_its_own_query_sees_it_and_it_answers_none() -> None:
    batch = tiny_collate()([made(one) for one in tiny_domains()[0].train[:4]])
    own = [i for i, kind in enumerate(batch.kinds) if kind == "reference"]
    assert len(own) == 4 and not batch.positive[:, own].any()
    assert torch.equal(batch.valid[:, own], torch.eye(4, dtype=torch.bool))
    assert made(TRIPLET).negatives[0].item == Item.of(TRIPLET.reference)


def test_its_caption_may_stand_in_its_place() -> None:
    assert made(TRIPLET, caption=True).negatives[0].item == Item.of(text="a red square")


def test_what_would_be_wrong_of_it_is_left_as_it_is() -> None:
    same = replace(TRIPLET, target=Item.of(TRIPLET.reference))
    words = replace(TRIPLET, query=Item.of(text="a red square"))
    uncaptioned = replace(TRIPLET, query=Item.of(Picture("bare", TRIPLET.reference.load), "make it green"))
    assert made(same) == same and made(words) == words and made(uncaptioned, caption=True) == uncaptioned
