"""A-GEM against its formula, in numpy, and against the gradient of its memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from clplat.testing import (
    TinyTowers,
    plain_step,
    task_gradients,
    tiny_collate,
    tiny_domains,
    tiny_learner,
)
from clplat.training.learner import Learner
from strategies import AGEM

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
OTHER = tiny_collate()(tiny_domains()[1].train[:8])
FIRST, SECOND = (SimpleNamespace(dataset=domain.train) for domain in tiny_domains())


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_agem_projects_as_the_formula_says(seed: int) -> None:
    draw = np.random.default_rng(seed)
    model = nn.Linear(3, 2)
    gradient, wanted = draw.normal(size=8), draw.normal(size=8)
    coefficients = torch.tensor(wanted, dtype=torch.float32)

    def reference(batch: Any, outputs: Any) -> Tensor:  # linear in the weights: its gradient is ``wanted``
        return (torch.cat([p.flatten() for p in model.parameters()]) * coefficients).sum()

    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), lambda batch: None, reference, list)
    strategy, learner.dataset = AGEM(size=4, batch_size=2), [1, 2, 3]
    strategy.after_experience(learner, SimpleNamespace(dataset=[1, 2, 3]))
    flat = torch.tensor(gradient, dtype=torch.float32)
    model.weight.grad, model.bias.grad = flat[:6].reshape(2, 3).clone(), flat[6:].clone()
    strategy.after_backward(learner)
    found = torch.cat([model.weight.grad.flatten(), model.bias.grad]).double().numpy()
    dot = gradient @ wanted
    expected = gradient - (dot / (wanted @ wanted) * wanted if dot < 0 else 0.0)
    assert np.allclose(found, expected, atol=1e-5)


def test_agem_never_steps_against_the_memory() -> None:
    strategy, model = AGEM(size=8, batch_size=8), TinyTowers()
    learner = tiny_learner(model)
    learner.dataset = FIRST.dataset
    alone = task_gradients(model, BATCH)
    plain_step(strategy, learner, BATCH)
    assert all(torch.equal(model.get_parameter(name).grad, g) for name, g in alone.items()), "no memory yet"
    strategy.after_experience(learner, FIRST)
    kept = {row["example"]["ids"][0] for row in strategy.memory.state_dict()["groups"]["0"]}
    stored = tiny_collate()([triplet for triplet in FIRST.dataset if triplet.id in kept])
    angles = []
    for batch in (OTHER, BATCH, OTHER):
        reference, plain = task_gradients(model, stored), task_gradients(model, batch)
        plain_step(strategy, learner, batch)
        taken = {name: model.get_parameter(name).grad for name in plain}
        angles.append(float(sum((plain[n] * reference[n]).sum() for n in plain)))
        assert sum((taken[n] * reference[n]).sum() for n in plain) > -1e-5
        assert (angles[-1] < 0) != all(torch.allclose(taken[n], plain[n], atol=1e-6) for n in plain)
    assert min(angles) < 0 < max(angles), "both cases occur"
