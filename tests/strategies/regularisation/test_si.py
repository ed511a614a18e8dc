"""SI against its formula, computed slowly in float64 along a real training, and against Avalanche's."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from clplat.testing import (
    TinyTowers,
    nudge,
    plain_step,
    task_gradients,
    tiny_collate,
    tiny_domains,
    tiny_learner,
)
from clplat.testing.checks import weights
from strategies import SI

BATCHES = [tiny_collate()(domain.train[:8]) for domain in tiny_domains()]
STREAM = [SimpleNamespace(dataset=domain.train) for domain in tiny_domains()]


def test_importance_is_what_the_path_took_off_the_loss() -> None:
    strategy, model = SI(c=0.7, xi=0.01), TinyTowers()
    learner, omega = tiny_learner(model), {}
    for experience, batch in zip(STREAM, BATCHES, strict=True):
        strategy.before_experience(learner, experience)
        start, path = weights(model), {}
        for _ in range(3):
            gradients, before = task_gradients(model, batch), weights(model)
            plain_step(strategy, learner, batch)
            for name, gradient in gradients.items():  # of the task alone, whatever the penalty pulls
                step = model.get_parameter(name).detach().double() - before[name].double()
                path[name] = path.get(name, 0) - gradient.double() * step
        strategy.after_experience(learner, experience)
        anchor = weights(model)
        for name, found in path.items():
            distance = (anchor[name].double() - start[name].double()) ** 2
            omega[name] = (omega.get(name, 0) + found / (distance + 0.01)).clamp(min=0)
            known = strategy.anchor.importance[name].double()
            assert torch.allclose(known, omega[name], rtol=1e-2, atol=1e-5), name
    nudge(model, 0.05)
    penalty = 0.7 * sum(
        float((omega[n] * (p.detach().double() - anchor[n].double()) ** 2).sum())
        for n, p in model.named_parameters()
        if n in omega
    )
    found = strategy.loss(learner, BATCHES[0], model(BATCHES[0]))["si"]
    assert penalty > 1e-4 and float(found.detach()) == pytest.approx(penalty, rel=1e-2)
