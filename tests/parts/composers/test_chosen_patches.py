"""Chosen patches by hand, picture by picture in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.models.features import ImageFeatures, TextFeatures
from clplat.models.view import Towers
from clplat.parts.composers.chosen_patches import ChosenPatches
from clplat.parts.composers.sum import Sum
from clplat.testing import tiny_backbone


def test_the_patches_that_the_text_is_about_join_the_query() -> None:
    backbone, draw = tiny_backbone(), torch.Generator().manual_seed(0)
    composer = ChosenPatches(top=2, temperature=0.3)
    composer.attach(Towers(backbone))
    pooled, said, tokens = (torch.randn(*size, generator=draw) for size in ((3, 24), (3, 24), (3, 4, 32)))
    image, text = ImageFeatures(pooled=pooled, tokens=tokens), TextFeatures(pooled=said)
    start = normalize(composer(image, text), dim=-1)
    torch.testing.assert_close(start, normalize(Sum()(image, text), dim=-1), atol=1e-5, rtol=0)
    with torch.no_grad():
        composer.output.weight.copy_(torch.randn(24, 24, generator=draw))
        found = composer(image, text)
    model: Any = backbone.model
    for row in range(3):
        t = said[row].double() / said[row].double().norm()
        patches = tokens[row].double() @ model.visual.proj.double()
        unit = [patch / patch.norm() for patch in patches]
        best = sorted(range(4), key=lambda i: -float(unit[i] @ t))[:2]
        shares = torch.stack([unit[i] @ t / 0.3 for i in best]).exp()
        local = sum(share / shares.sum() * unit[i] for share, i in zip(shares, best, strict=True))
        expected = (
            pooled[row].double() / pooled[row].double().norm() + t + composer.output.weight.double() @ local
        )
        torch.testing.assert_close(found[row].double(), expected.detach(), atol=1e-4, rtol=1e-4)


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="top must be at least 1"):
        ChosenPatches(top=0)
