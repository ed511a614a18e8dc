"""ProGrad: the projected gradient by hand, of the same loss taken apart."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.parts.adapters.full import Full
from clplat.testing import (
    StrategyContract,
    TinyTowers,
    nudge,
    tiny_collate,
    tiny_domains,
    tiny_learner,
    tiny_loss,
)
from clplat.testing.checks import trainable
from clplat.testing.tiny import tiny_retriever
from strategies import ProGrad

BATCH = tiny_collate()(tiny_domains()[0].train[:6])


class TestProGrad(StrategyContract):
    def make(self) -> ProGrad:
        return ProGrad()


def flat(tensors: Any) -> torch.Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).double()


@pytest.mark.parametrize("against", [True, False])
def test_what_points_against_the_divergence_is_taken_out(against: bool) -> None:
    model = TinyTowers()
    learner: Any = tiny_learner(model)
    strategy = ProGrad(temperature=0.5)
    strategy.before_experience(learner, None)
    old = model(BATCH)
    before = (old.scale * (old.query @ old.candidates.mT)).detach()
    nudge(model, 0.3)
    weights = [p for p in model.parameters() if p.requires_grad]
    outputs = model(BATCH)
    logits = outputs.scale * (outputs.query @ outputs.candidates.mT)
    target = (before / 0.5).softmax(1)
    divergence = (target * (target.log() - (logits / 0.5).log_softmax(1))).sum(1).mean()
    k = flat(torch.autograd.grad(divergence, weights, retain_graph=True))
    noise = torch.randn(len(k), dtype=torch.float64).sign() * k.abs().mean()
    g = (-0.7 if against else 0.7) * k + 0.1 * noise
    start = 0
    for p in weights:
        p.grad = g[start : start + p.numel()].view_as(p).float()
        start += p.numel()
    strategy.loss(learner, BATCH, outputs)
    strategy.after_backward(learner)
    dot = float(g @ k)
    assert (dot < 0) == against
    expected = g - min(dot, 0.0) / float(k @ k) * k
    torch.testing.assert_close(flat(p.grad for p in weights), expected, atol=1e-5, rtol=1e-3)


def test_it_trains_a_retriever() -> None:
    model = tiny_retriever(Full(last=1)).train()
    learner: Any = tiny_learner(model)
    strategy = ProGrad()
    strategy.before_experience(learner, None)
    nudge(model, 0.1)
    outputs = model(BATCH)
    assert strategy.loss(learner, BATCH, outputs) == {}
    tiny_loss(BATCH, outputs).backward()
    strategy.after_backward(learner)
    assert trainable(model) and all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0"):
        ProGrad(temperature=0.0)
