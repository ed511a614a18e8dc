"""Missing inputs: learnt vectors in their place, in training and for candidates."""

from __future__ import annotations

import pytest
import torch

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.parts.composers.any_subset import AnySubset
from clplat.parts.composers.combiner import Combiner
from clplat.parts.composers.pseudo_word import PseudoWord


def test_never_both_are_missing_and_about_the_share_is() -> None:
    composer = AnySubset(missing=0.25)
    composer.build(2)
    with torch.no_grad():
        composer.no_image.copy_(torch.tensor([-1.0, 0.0]))
        composer.no_text.copy_(torch.tensor([0.0, -1.0]))
    r, t = torch.tensor([[1.0, 0.0]]).expand(400, -1), torch.tensor([[0.0, 1.0]]).expand(400, -1)
    torch.manual_seed(0)
    query = composer.train()(ImageFeatures(pooled=r), TextFeatures(pooled=t)).detach().sign()
    kinds = {(x, y): int(((query[:, 0] == x) & (query[:, 1] == y)).sum()) for x in (-1, 1) for y in (-1, 1)}
    assert kinds[-1, -1] == 0 and 60 < kinds[-1, 1] < 140 and 60 < kinds[1, -1] < 140
    assert kinds[1, 1] == 400 - kinds[-1, 1] - kinds[1, -1]


def test_a_candidate_is_a_picture_without_a_text() -> None:
    torch.manual_seed(0)
    composer = AnySubset(Combiner(4, 4, start="random"), target=True).eval()
    composer.build(3)
    shown = torch.randn(5, 3)
    with torch.no_grad():
        composer.no_text.fill_(0.5)
    assert torch.equal(
        composer.target(ImageFeatures(pooled=shown)), composer.inner(shown, torch.full((5, 3), 0.5))
    )
    plain = AnySubset()
    plain.build(3)
    assert torch.equal(plain.target(ImageFeatures(pooled=shown)), shown)


def test_an_inner_composer_of_words_is_refused() -> None:
    with pytest.raises(ValueError, match="as PseudoWord does not"):
        AnySubset(PseudoWord())
