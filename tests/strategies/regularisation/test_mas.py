"""MAS against its formula, in float64 by finite differences."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from clplat.testing import TinyTowers, nudge, tiny_domains, tiny_learner
from clplat.training.learner import Learner
from strategies import MAS

STREAM = [SimpleNamespace(dataset=domain.train) for domain in tiny_domains()]


def squared_length(weight: Tensor, rows: Tensor) -> float:
    return float((rows @ weight.T).square().sum(1).mean())


def test_importance_is_the_sensitivity_of_the_outputs() -> None:
    model = nn.Linear(3, 2, bias=False).double()
    data = torch.randn(10, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    learner = Learner(model, optimizer, predict_fn=model, collate_fn=torch.stack, dataset=list(data))
    strategy = MAS(lam=1.5, batch_size=4)
    strategy.after_experience(learner, STREAM[0])
    weight, expected = model.weight.detach(), torch.zeros(2, 3, dtype=torch.float64)
    for rows in data.split(4):
        for i in range(2):
            for j in range(3):
                step = torch.zeros_like(weight)
                step[i, j] = 1e-5
                slope = squared_length(weight + step, rows) - squared_length(weight - step, rows)
                expected[i, j] += abs(slope / 2e-5) / 3
    assert torch.allclose(strategy.anchor.importance["weight"], expected, rtol=1e-5)
    with torch.no_grad():
        model.weight += 0.5
    assert float(strategy.loss(learner, None, None)["mas"].detach()) == pytest.approx(
        1.5 * 0.25 * float(expected.sum()), rel=1e-6
    )


def test_unit_embeddings_are_compared_because_their_length_says_nothing() -> None:
    strategy, model = MAS(), TinyTowers()
    learner = tiny_learner(model)
    learner.dataset = STREAM[0].dataset
    strategy.after_experience(learner, STREAM[0])
    importance = strategy.anchor.importance
    assert importance.keys() == {"picture.weight", "picture.bias", "text.weight", "text.bias"}
    assert all(float(value.max()) > 1e-3 for value in importance.values())
    assert all(p.grad is None for p in model.parameters()), "the pass leaves no gradients behind"
    nudge(model, 0.1)
    assert float(strategy.loss(learner, None, None)["mas"].detach()) > 0
