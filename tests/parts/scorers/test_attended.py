"""ARTEMIS's score against its formula in float64, pair by pair."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.scorers.attended import Attended
from clplat.testing import tiny_backbone


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x)


def attached() -> Attended:
    torch.manual_seed(0)
    scorer = Attended()
    scorer.attach(Towers(tiny_backbone()))
    return scorer


def test_the_formula_by_hand() -> None:
    scorer = attached()
    torch.nn.init.normal_(scorer.match.weight)
    r, t, g = torch.randn(3, 4, 24)
    query = scorer.query(ImageFeatures(pooled=r), TextFeatures(pooled=t), lambda image, _: image.pooled)
    item = scorer.item(ImageFeatures(pooled=g), lambda found: found.pooled)
    w: Any = {name: p.detach().double().numpy() for name, p in scorer.named_parameters()}

    def attention(x: Any, name: str) -> Any:
        hidden = np.maximum(x @ w[f"{name}.0.weight"].T + w[f"{name}.0.bias"], 0)
        made = np.exp(hidden @ w[f"{name}.2.weight"].T + w[f"{name}.2.bias"])
        return made / made.sum()

    for i, (picture, text) in enumerate(zip(r.double().numpy(), t.double().numpy(), strict=True)):
        text = unit(text)
        said = unit(text @ w["match.weight"].T + w["match.bias"])
        a, b = attention(text, "explicit"), attention(text, "implicit")
        expected = [said @ unit(a * o) + unit(b * picture) @ unit(b * o) for o in g.double().numpy()]
        np.testing.assert_allclose(scorer.block(query, item)[i].detach().numpy(), expected, atol=1e-5)


def test_pictures_and_texts_alone_are_compared_by_cosines() -> None:
    scorer = attached()
    a, b = torch.randn(2, 3, 24)
    text, item = scorer.text(TextFeatures(pooled=a)), scorer.item(ImageFeatures(pooled=b), lambda i: i.pooled)
    cosines = torch.nn.functional.cosine_similarity(a[:, None], b[None], dim=2)
    assert torch.allclose(scorer.block(text, item), cosines, atol=1e-5)
    assert torch.allclose(scorer.block(item, text), cosines.T, atol=1e-5)
