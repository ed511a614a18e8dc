"""Guidance against its formula, and what training leaves out."""

from __future__ import annotations

import pytest
import torch

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers.combiner import Combiner
from clplat.parts.composers.guided import Guided
from clplat.parts.composers.pseudo_word import PseudoWord
from clplat.testing import tiny_backbone

TOWERS = Towers(tiny_backbone())


def test_the_formula_by_hand() -> None:
    torch.manual_seed(0)
    composer = Guided(Combiner(8, 8, start="random"), image=0.5, text=2.0).eval()
    composer.attach(TOWERS)
    r, t = torch.randn(2, 3, 24, generator=torch.Generator().manual_seed(1))
    nothing = TOWERS.text([""]).pooled.expand(3, -1)
    inner = composer.inner
    neither, alone, both = (inner(*pair).double() for pair in ((0 * r, nothing), (r, nothing), (r, t)))
    expected = neither + 0.5 * (alone - neither) + 2.0 * (both - alone)
    assert torch.allclose(composer(r, t).double(), expected, atol=1e-5)


def test_a_share_of_training_queries_lacks_the_text_or_both() -> None:
    composer = Guided(missing=0.25)
    composer.attach(TOWERS)
    r, t = torch.zeros(400, 24), torch.zeros(400, 24)
    r[:, 0], t[:, 1] = 1.0, 1.0
    torch.manual_seed(0)
    with torch.no_grad():
        query = composer.train()(ImageFeatures(pooled=r), TextFeatures(pooled=t))
    both = torch.isclose(query[:, 1], torch.tensor(0.5**0.5)) & torch.isclose(query[:, 0], query[:, 1])
    alone = ~both & (query[:, 0] > 0.6)
    assert 150 < both.sum() < 250 and 60 < alone.sum() < 140 and 60 < (~both & ~alone).sum() < 140


def test_an_inner_composer_of_words_is_refused() -> None:
    with pytest.raises(ValueError, match="pooled features of both inputs, as PseudoWord does not"):
        Guided(PseudoWord())
