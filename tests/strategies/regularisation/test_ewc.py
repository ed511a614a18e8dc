"""EWC against its formula, computed slowly: number by number, in float64."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Literal

import pytest
import torch
from avalanche.models import IncrementalClassifier
from torch import Tensor

from clplat.mechanisms.importance import fisher, scaled
from clplat.progress import Progress
from clplat.randomness import generator
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
from clplat.training.learner import Learner
from strategies import EWC

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
        assert torch.allclose(strategy.anchor.importance[name].double(), fisher, rtol=1e-3, atol=1e-5), name
        for f, p, a in zip(fisher.flatten(), value.flatten(), anchor[name].flatten(), strict=True):
            penalty += 2.0 / 2 * float(f) * (float(p) - float(a)) ** 2
    found = strategy.loss(learner, BATCH, model(BATCH))["ewc"]
    assert penalty > 0.01 and float(found.detach()) == pytest.approx(penalty, rel=1e-3)


@pytest.mark.parametrize("estimate", ["empirical", "true"])
def test_the_matrix_may_be_measured_after_a_domain(estimate: Literal["empirical", "true"]) -> None:
    strategy, learner = EWC(estimate=estimate, examples=6, batch_size=4, seed=3), tiny_learner(TinyTowers())
    assert strategy.reads_data and not EWC().reads_data
    learner.dataset = FIRST.dataset
    strategy.after_experience(learner, FIRST)
    draw = generator(3, "labels", 0) if estimate == "true" else None
    expected = scaled(fisher(learner, FIRST.dataset, 4, draw, examples=6))
    assert all(torch.equal(strategy.fisher[name], value) for name, value in expected.items())
    assert strategy.fisher.keys() == expected.keys() and all(bool(f.any()) for f in expected.values())


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


def test_a_head_that_grows_is_held_in_its_old_part() -> None:
    model = IncrementalClassifier(4, 2)
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    strategy = EWC(lam=4.0)
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    for classes in ([0, 1], [2, 3, 4]):
        model.adaptation(SimpleNamespace(classes_in_this_experience=classes))
        model(x).square().sum().backward()
        strategy.after_backward(learner)
        strategy.after_experience(learner, FIRST)
        model.zero_grad()
    assert strategy.anchor.importance["classifier.weight"].shape == (5, 4)
    model.adaptation(SimpleNamespace(classes_in_this_experience=[5]))
    with torch.no_grad():
        model.classifier.weight += 0.5
    found = strategy.loss(learner, None, None)["ewc"]
    expected = 4.0 / 2 * 0.25 * float(strategy.anchor.importance["classifier.weight"].double().sum())
    assert expected > 0.1 and float(found.detach()) == pytest.approx(expected, rel=1e-4)
    assert not found.requires_grad, "gradients are those of the task"
    learner.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # which holds the head that has grown
    before = model.classifier.weight.detach().clone()
    strategy.after_step(learner, None, None)
    anchor, importance = (held["classifier.weight"] for held in (strategy.anchor.anchor, strategy.fisher))
    pulled = anchor + (before[:5] - anchor) / (1 + 0.1 * 4.0 * importance)  # lr 0.1
    assert torch.allclose(model.classifier.weight[:5], pulled, atol=1e-6)
    assert torch.equal(model.classifier.weight[5:], before[5:]), "what is new is free"


def test_stiffness_eases_along_a_domain() -> None:
    strategy, learner = EWC(lam=8.0, ease=0.25), tiny_learner(TinyTowers())
    strategy.anchor.consolidate(
        learner.model, {n: torch.ones_like(p) for n, p in learner.model.named_parameters()}
    )
    nudge(learner.model, 0.05)
    found = []
    for done in (0, 2, 4):
        learner.progress = Progress(done=done, total=4)
        found.append(float(strategy.loss(learner, BATCH, None)["ewc"]))
    assert found == pytest.approx([found[0], found[0] * 0.625, found[0] * 0.25])
    with pytest.raises(ValueError, match="ease must be at least 0"):
        EWC(ease=-1.0)
