"""Centring and whitening against numpy, on both sides alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.features import ImageFeatures
from clplat.parts.composers.whitened import Whitened

DRAW = torch.Generator().manual_seed(0)


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_the_formula_by_hand() -> None:
    composer = Whitened(power=1.0)
    composer.make(4)
    image, text, target = torch.randn(3, 60, 4, generator=DRAW) + torch.tensor([[[2.0]], [[-1.0]], [[2.0]]])
    composer.fit(image, text, target)
    i, t, c = (unit(x.double().numpy()) for x in (image, text, target))
    shown, said = np.concatenate([i, c]), t
    rows = np.concatenate([shown - shown.mean(0), said - said.mean(0)])
    variances, axes = np.linalg.eigh(rows.T @ rows / len(rows))
    matrix = axes * (variances / variances.mean() + 1e-3) ** -0.5 @ axes.T
    r, w = (i - shown.mean(0)) @ matrix, (t - said.mean(0)) @ matrix
    np.testing.assert_allclose(composer(image, text).numpy(), unit(unit(r) + unit(w)), atol=1e-4)
    held = composer.target(ImageFeatures(pooled=target)).numpy()
    np.testing.assert_allclose(held, (c - shown.mean(0)) @ matrix, atol=1e-4)


def test_the_gap_between_the_modalities_is_closed() -> None:
    composer = Whitened(power=0.0, common=1)
    composer.make(4)
    image, text, target = torch.randn(3, 60, 4, generator=DRAW) + torch.tensor([[[2.0]], [[-1.0]], [[2.0]]])
    composer.fit(image, text, target)
    assert torch.allclose(composer._said(text).mean(0), torch.zeros(4), atol=1e-5)
    assert torch.linalg.matrix_rank(composer.matrix) == 3


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="power"):
        Whitened(power=2.0)
