"""The direction of a prompt against its formula in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers.direction import Direction
from clplat.parts.composers.pseudo_word import PseudoWord
from clplat.testing import tiny_backbone
from clplat.testing.towers import features

TOWERS = Towers(tiny_backbone())


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_the_formula_by_hand_around_a_pseudo_word() -> None:
    torch.manual_seed(0)
    composer = Direction(PseudoWord(hidden=8), image=0.7, text=1.3, share=0.4)
    composer.attach(TOWERS)
    image, text = features(tiny_backbone(), rows=3)
    ids = TOWERS.tokenize([""] * 3)
    with torch.no_grad():
        inner = composer.eval().inner
        said = inner(image, text).double().numpy()
        plain = inner(image, TextFeatures(input_ids=ids)).double().numpy()
        found = composer(image, text).double().numpy()
    change = said - plain
    shown = unit(image.pooled.double().numpy() + 0.7 * change)
    np.testing.assert_allclose(found, 0.6 * shown + 0.4 * unit(plain + 1.3 * change), atol=1e-5)
    assert composer.places == inner.places > 0 and composer.wants["image"] == {"pooled"}


def test_alone_the_inner_query_is_left() -> None:
    composer = Direction(image=3.0, text=1.0, share=1.0)
    composer.attach(TOWERS)
    shown, words = torch.randn(2, 2, 24, generator=torch.Generator().manual_seed(0))
    pair = ImageFeatures(pooled=shown), TextFeatures(pooled=words)
    assert torch.allclose(composer(*pair), composer.inner(*pair), atol=1e-6)
    with pytest.raises(ValueError, match="share"):
        Direction(share=1.5)
