"""Captions stand beside a triplet that stays what it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clplat.data.records import Item
from clplat.parts.transforms.captions_beside import CaptionsBeside
from clplat.testing import tiny_domains

TRIPLET = tiny_domains()[0].train[0]


def test_the_triplet_stays_and_both_captions_come_with_it() -> None:
    made = CaptionsBeside()(replace(TRIPLET, extra={"a": 1}), torch.Generator())
    assert made.extra == {"a": 1, "captions": ["a red square", "a green square"]}
    assert replace(made, extra=TRIPLET.extra) == TRIPLET


def test_a_picture_without_a_caption_is_refused() -> None:
    bare = Item.of(replace(TRIPLET.target.picture, caption=None))
    with pytest.raises(ValueError, match="captions_beside needs captions"):
        CaptionsBeside()(replace(TRIPLET, target=bare), torch.Generator())
