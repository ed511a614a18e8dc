"""Denoising contrast by hand: masked patches of grey, all patches of the whole pictures as rivals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.parts.adapters.full import Full
from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from strategies import DenoisingContrast
from strategies.distillation.denoising_contrast import hidden

BATCH = tiny_collate()(tiny_domains()[0].train[:3])


def test_masked_patches_find_their_own_among_all() -> None:
    strategy, model = (
        DenoisingContrast(1.5, share=0.5, temperature=0.2, seed=3),
        tiny_retriever(Full()).eval(),
    )
    learner: Any = tiny_learner(model)
    pixels = BATCH.pictures.pixels
    with torch.no_grad():
        whole = normalize(model.backbone.image(pixels, {"tokens"}).tokens.double(), dim=-1)  # type: ignore[union-attr]
        strategy.before_experience(learner, None)
        nudge(model, 0.05)
    draws = torch.rand(len(pixels), 4, generator=learner.progress.generator(3, "masked patches"))
    grey = pixels.clone()
    masked = torch.zeros(len(pixels), 4, dtype=torch.bool)
    for i, row in enumerate(draws):
        for patch in row.argsort()[:2].tolist():  # half of four patches of 8 pixels each
            y, x = 8 * (patch // 2), 8 * (patch % 2)
            grey[i, :, y : y + 8, x : x + 8] = pixels[i].float().mean((1, 2)).to(torch.uint8)[:, None, None]
            masked[i, patch] = True
    assert torch.equal(hidden(pixels, masked), grey)
    with torch.no_grad():
        made = normalize(model.backbone.image(grey, {"tokens"}).tokens.double(), dim=-1)  # type: ignore[union-attr]
    costs = []
    for i, patch in masked.nonzero().tolist():
        scores = (whole.flatten(0, 1) @ made[i, patch] / 0.2).tolist()
        costs.append(math.log(sum(map(math.exp, scores))) - scores[4 * i + patch])
    found = strategy.loss(learner, BATCH, None)["denoising"]
    assert float(found.detach()) == pytest.approx(1.5 * sum(costs) / len(costs), rel=1e-4)
    found.backward()  # type: ignore[no-untyped-call]
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.backbone.parameters())


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        DenoisingContrast().before_experience(tiny_learner(TinyTowers()), None)
    with pytest.raises(ValueError, match=r"share in \(0, 1\)"):
        DenoisingContrast(share=1.0)
    with pytest.raises(UserError, match="make no square"):
        hidden(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, dtype=torch.bool))
