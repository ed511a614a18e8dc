"""Captions beside the pictures that answer."""

from __future__ import annotations

from dataclasses import replace

import torch

from clplat.data.records import Candidate, Item, Picture
from clplat.parts.transforms.captioned import Captioned
from clplat.testing import tiny_domains

TRIPLET = tiny_domains()[0].train[0]


def test_candidates_become_items_of_both_and_the_query_stays() -> None:
    shown = TRIPLET.target.picture
    assert shown is not None
    bare = Candidate(Picture("bare", shown.load), "x", "near_miss", "anchor")
    near = Candidate(shown, "y", "near_miss", "anchor")
    made = Captioned()(replace(TRIPLET, weight=2.0, negatives=(near, bare)), torch.Generator())
    assert made.target == Item.of(shown, "a green square") and made.query == TRIPLET.query
    assert made.negatives == (Candidate(made.target, "y", "near_miss", "anchor"), bare) and made.weight == 2.0
