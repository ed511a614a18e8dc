"""Invariance by hand: of the candidates alone, with the noise of this step, and zero without any."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.parts.composers.sum import Sum
from clplat.parts.prompts.deep import DeepPrompt
from clplat.randomness import seeded
from clplat.retriever import ComposedRetriever
from clplat.testing import TinyTowers, plain_loop, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from strategies import Invariance


def prompted() -> ComposedRetriever:
    model = tiny_retriever(composer=Sum())
    with seeded(0, "prompt"):
        DeepPrompt(length=2, depth=1, towers="image").attach(model.backbone)
    return model.eval()


def test_the_formula_by_hand() -> None:
    model, strategy = prompted(), Invariance(weight=2.0, noise=0.2)
    learner = tiny_learner(model)
    batch = tiny_collate()(tiny_domains()[0].train[:4])
    outputs: Any = model(batch)
    term = strategy.loss(learner, batch, outputs)["invariance"]
    rows = batch.picture_rows[len(batch) :]
    pixels = torch.stack([batch.pictures.at([row])[0] for row in rows])
    noise = torch.randn(pixels.shape, generator=learner.progress.generator(0, "invariance"))
    moved = (pixels / 255 + 0.2 * noise).clamp(0, 1)
    moved = (255 * moved).round().to(torch.uint8)
    one, two = (model.backbone.image(x).pooled.double() for x in (pixels, moved))
    cosines = (one * two).sum(1) / one.norm(dim=1) / two.norm(dim=1)
    assert term.item() == pytest.approx(2 * (1 - cosines).mean().item(), abs=1e-4) and term.item() > 1e-3
    term.backward()
    assert model.backbone.image_prompt is not None
    assert all(p.grad is not None and p.grad.any() for p in model.backbone.image_prompt.parameters())


def test_a_step_draws_its_own_noise_and_no_global_generator() -> None:
    strategy, pixels = Invariance(noise=0.1), torch.full((2, 3, 8, 8), 128, dtype=torch.uint8)
    draws = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    one, again, other = (strategy.perturbed(pixels, draw) for draw in draws)
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert one.float().std().item() == pytest.approx(25.5, rel=0.15)
    bright = torch.full_like(pixels, 255)
    assert int(strategy.perturbed(bright, draws[0]).min()) > 100, "cut at white, and not wrapped to black"


def test_it_needs_a_retriever_and_noise() -> None:
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        plain_loop(Invariance(), TinyTowers())
    with pytest.raises(ValueError, match="noise above 0"):
        Invariance(noise=0.0)
