"""Strategies on weights and gradients against their formulas, computed slowly: loops, float64, numpy."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from clplat.testing import (
    TinyTowers,
    nudge,
    plain_loop,
    plain_step,
    task_gradients,
    tiny_collate,
    tiny_domains,
    tiny_learner,
)
from clplat.testing.checks import weights
from clplat.training.strategy import Learner
from strategies import AGEM, EWC, Patch

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
OTHER = tiny_collate()(tiny_domains()[1].train[:8])
FIRST, SECOND = (SimpleNamespace(dataset=domain.train) for domain in tiny_domains())


def slow_fisher(gradients: list[dict[str, Tensor]], decay: float) -> dict[str, Tensor]:
    """The running mean of squared gradients, divided by its mean over all weights; number by number."""
    out = {}
    for name in gradients[0]:
        flat = [0.0] * gradients[0][name].numel()
        for gradient in gradients:
            for i, g in enumerate(gradient[name].double().flatten().tolist()):
                flat[i] = decay * flat[i] + (1 - decay) * g * g
        out[name] = torch.tensor(flat, dtype=torch.float64).reshape(gradients[0][name].shape)
    mean = sum(float(f.sum()) for f in out.values()) / sum(f.numel() for f in out.values())
    return {name: f / mean for name, f in out.items()}


@pytest.mark.parametrize("gamma", [1.0, 0.6])
def test_ewc_fisher_and_penalty(gamma: float) -> None:
    strategy, model = EWC(lam=2.0, gamma=gamma, decay=0.8), TinyTowers()
    learner, fishers, anchor = tiny_learner(model), [], {}
    for experience, batch in ((FIRST, BATCH), (SECOND, OTHER)):
        strategy.before_experience(learner, experience)
        seen = []
        for _ in range(3):
            seen.append(task_gradients(model, batch))  # of the task alone, whatever the penalty pulls
            plain_step(strategy, learner, batch)
        strategy.after_experience(learner, experience)
        fishers.append(slow_fisher(seen, 0.8))
        anchor = {name: value.double() for name, value in weights(model).items()}
    nudge(model, 0.05)
    penalty = 0.0
    for name in fishers[0]:
        value = model.get_parameter(name).detach().double()
        fisher = gamma * fishers[0][name] + fishers[1][name]
        assert torch.allclose(strategy.fisher[name].double(), fisher, rtol=1e-3, atol=1e-5), name
        for f, p, a in zip(fisher.flatten(), value.flatten(), anchor[name].flatten(), strict=True):
            penalty += 2.0 / 2 * float(f) * (float(p) - float(a)) ** 2
    found = strategy.loss(learner, BATCH, model(BATCH))["ewc"]
    assert penalty > 0.01 and float(found.detach()) == pytest.approx(penalty, rel=1e-3)


def test_ewc_holds_the_second_domain_near_the_first() -> None:
    ends = {}
    for lam in (0.0, 3.0):  # at rate 0.1 and momentum 0.9 a stiffer spring would oscillate
        model = TinyTowers()
        history = plain_loop(EWC(lam=lam), model, steps=8)
        assert not any("ewc" in terms for terms in history[:8]) and all("ewc" in t for t in history[8:])
        ends[lam] = weights(model)["picture.weight"]
    model = TinyTowers()
    plain_loop(EWC(), model, tiny_domains()[:1], steps=8)
    first = weights(model)["picture.weight"]
    assert (ends[3.0] - first).norm() < 0.8 * (ends[0.0] - first).norm()


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
    strategy = AGEM(size=4, batch_size=2)
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
    alone = task_gradients(model, BATCH)
    plain_step(strategy, learner, BATCH)
    assert all(torch.equal(model.get_parameter(name).grad, g) for name, g in alone.items()), "no memory yet"
    strategy.after_experience(learner, FIRST)
    kept = {row["id"] for row in strategy.memory.state_dict()["groups"]["0"]}
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


@pytest.mark.parametrize("anchor", ["previous", "initial"])
def test_patch_interpolates(anchor: Any) -> None:
    strategy, model = Patch(alpha=0.3, anchor=anchor), TinyTowers()
    learner, starts = tiny_learner(model), []
    for experience in (FIRST, SECOND):
        starts.append(weights(model))
        strategy.before_experience(learner, experience)
        plain_step(strategy, learner, BATCH)
        nudge(model, 0.05)
        trained = weights(model)
        strategy.after_experience(learner, experience)
        start = starts[-1 if anchor == "previous" else 0]
        for name, p in model.named_parameters():
            expected = 0.7 * start[name].double() + 0.3 * trained[name].double()
            assert torch.allclose(p.detach().double(), expected, atol=1e-6), name
            assert p.requires_grad != torch.equal(p, starts[-1][name])
