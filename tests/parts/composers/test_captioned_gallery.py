"""Galleries of pictures and their captions against the formula in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clplat.data.text_table import TextTable
from clplat.errors import UserError
from clplat.models.features import ImageFeatures
from clplat.models.view import Towers
from clplat.parts.composers.captioned_gallery import CaptionedGallery
from clplat.parts.composers.sum import Sum
from clplat.testing import tiny_backbone

TOWERS = Towers(tiny_backbone())
SHOWN = ImageFeatures(
    pooled=torch.randn(2, 24, generator=torch.Generator().manual_seed(0)), keys=["a", "b"], captions=["", "x"]
)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@torch.no_grad()
def test_a_score_is_that_of_the_picture_and_of_the_mean_caption(tmp_path) -> None:
    TextTable({("a", ""): ("one", "two"), ("b", ""): ("three",)}).write(tmp_path / "t.jsonl")
    composer = CaptionedGallery(Sum(weight=0.8), weight=0.3, texts=str(tmp_path / "t.jsonl"))
    composer.attach(TOWERS)
    said = unit(TOWERS.text(["one", "two", "three"]).pooled.double().numpy())
    v, means = unit(SHOWN.pooled.double().numpy()), np.stack([said[:2].mean(0), said[2]])
    found = composer.target(SHOWN).double().numpy()
    np.testing.assert_allclose(found, unit(0.7 * v + 0.3 * means), atol=1e-6)
    q = unit(np.random.default_rng(0).normal(size=24))
    parts = 0.7 * v @ q + 0.3 * np.array([(said[:2] @ q).mean(), said[2] @ q])
    np.testing.assert_allclose(found @ q * np.linalg.norm(0.7 * v + 0.3 * means, axis=1), parts, atol=1e-6)
    words = torch.ones(2, 24)
    assert torch.equal(composer(SHOWN.pooled, words), Sum(weight=0.8)(SHOWN.pooled, words))


def test_without_captions_it_is_told_and_without_weight_it_is_the_picture() -> None:
    composer = CaptionedGallery()
    composer.attach(TOWERS)
    with pytest.raises(UserError, match="picture 'a' has no caption"):
        composer.target(SHOWN)
    bare = CaptionedGallery(weight=0.0)
    bare.attach(TOWERS)
    shown = SHOWN.part([1])
    assert torch.allclose(bare.target(shown), torch.nn.functional.normalize(shown.pooled), atol=1e-6)
    with pytest.raises(ValueError, match="share of captions"):
        CaptionedGallery(weight=2.0)
