"""Aspects by hand in float64, and that they begin as one embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.scorers.aspects import Aspects
from clplat.randomness import generator, seeded
from clplat.testing import tiny_backbone

R, T, G = torch.randn(3, 4, 24, generator=generator(0, "aspects"))


def unit(x: Any) -> Any:
    return x / np.linalg.norm(x)


def attached() -> Aspects:
    scorer = Aspects(number=3, rank=2)
    with seeded(0, "test"):
        scorer.attach(Towers(tiny_backbone()))
    return scorer


def rows(scorer: Aspects) -> tuple[torch.Tensor, torch.Tensor]:
    query = scorer.query(ImageFeatures(pooled=R), TextFeatures(pooled=T), lambda image, _: image.pooled)
    return query, scorer.item(ImageFeatures(pooled=G), lambda found: found.pooled)


@torch.no_grad()
def test_the_formula_by_hand() -> None:
    scorer = attached()
    for parameter in scorer.parameters():
        torch.nn.init.normal_(parameter)
    found = scorer.block(*rows(scorer))
    w = {name: p.double().numpy() for name, p in scorer.named_parameters()}
    for i in range(4):
        t = unit(T[i].double().numpy())
        weights = np.exp(w["router.weight"] @ t + w["router.bias"])
        weights /= weights.sum()
        for j in range(4):
            expected = 0.0
            for a in range(3):
                q, g = (unit(x.double().numpy()) for x in (R[i], G[j]))
                q, g = (unit(x + x @ w["down"][a] @ w["up"][a]) for x in (q, g))
                expected += weights[a] * (q @ g)
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_they_begin_as_one_embedding_and_count_alike() -> None:
    scorer = attached()
    query, item = rows(scorer)
    cosines = torch.nn.functional.cosine_similarity(R[:, None], G[None], dim=2)
    assert torch.allclose(scorer.block(query, item), cosines, atol=1e-5)
    assert torch.allclose(scorer.usage(query), torch.full((3,), 1 / 3))
    assert torch.allclose(scorer.alike(item, G), torch.ones(3), atol=1e-5)
    torch.nn.init.normal_(scorer.up[1])
    near = scorer.alike(rows(scorer)[1], G)
    assert near[1] < 0.99 and near[0] > 0.999


def test_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Aspects(number=0)
