"""Texts of random tokens: they end where texts end, and hold no other special token."""

from __future__ import annotations

import pytest
import torch

from clplat.errors import UserError
from clplat.mechanisms.random_texts import random_texts
from clplat.testing import tiny_backbone


def test_each_is_framed_as_a_text_and_drawn_from_all_words() -> None:
    backbone = tiny_backbone()
    ids = random_texts(backbone, 200, 8, seed=0).ids
    assert bool((ids[:, 0] == 49406).all()) and bool((ids[:, 9] == 49407).all())
    words = ids[:, 1:9]
    assert bool((words < 49406).all()) and bool((words > 0).all()) and len({*words.flatten().tolist()}) > 1500
    assert bool((backbone.text_ends(ids) == 9).all())
    assert torch.equal(ids, random_texts(backbone, 200, 8, seed=0).ids)
    assert not torch.equal(ids, random_texts(backbone, 200, 8, seed=1).ids)


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UserError, match="11 random tokens do not fit into the 12"):
        random_texts(tiny_backbone(), 2, 11, seed=0)
