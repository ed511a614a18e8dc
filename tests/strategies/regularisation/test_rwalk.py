"""RWalk against its formula, computed slowly in float64 along a real training."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

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
from strategies import RWalk

BATCHES = [tiny_collate()(domain.train[:8]) for domain in tiny_domains()]
STREAM = [SimpleNamespace(dataset=domain.train) for domain in tiny_domains()]


def mean_one(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    flat = torch.cat([tensor.flatten() for tensor in tensors.values()])
    return {name: tensor / flat.mean() for name, tensor in tensors.items()}


def test_importance_is_curvature_and_the_path_in_its_metric() -> None:
    strategy, model = RWalk(lam=0.7, decay=0.6, every=2, xi=0.01), TinyTowers()
    learner = tiny_learner(model)
    fisher: dict[str, Tensor] = {}
    scores: dict[str, Tensor] = {}
    for number, (experience, batch) in enumerate(zip(STREAM, BATCHES, strict=True)):
        strategy.before_experience(learner, experience)
        score: dict[str, Tensor] = {}
        for interval in (2, 2, 1):  # five steps: the last interval is shorter
            start = {name: value.double() for name, value in weights(model).items()}
            path: dict[str, Tensor] = {}
            for _ in range(interval):
                gradients, before = task_gradients(model, batch), weights(model)
                plain_step(strategy, learner, batch)
                for name, gradient in gradients.items():  # of the task alone, whatever the penalty pulls
                    step = model.get_parameter(name).detach().double() - before[name].double()
                    path[name] = path.get(name, 0) - gradient.double() * step
                    fisher[name] = 0.6 * fisher.get(name, 0) + 0.4 * gradient.double() ** 2
            if interval == 1:
                strategy.after_experience(learner, experience)
            for name, found in path.items():
                moved = (model.get_parameter(name).detach().double() - start[name]) ** 2
                score[name] = score.get(name, 0) + found.clamp(min=0) / (fisher[name] / 2 * moved + 0.01)
        scores = {name: (scores[name] + new) / 2 if number else new for name, new in score.items()}
        expected = {name: f + mean_one(scores)[name] for name, f in mean_one(fisher).items()}
        for name, importance in expected.items():
            known = strategy.anchor.importance[name].double()
            assert torch.allclose(known, importance, rtol=1e-2, atol=1e-4), name
    anchor = weights(model)
    nudge(model, 0.05)
    distances = {n: (p.detach().double() - anchor[n].double()) ** 2 for n, p in model.named_parameters()}
    penalty = 0.7 * sum(float((expected[name] * distances[name]).sum()) for name in expected)
    found = strategy.loss(learner, BATCHES[0], model(BATCHES[0]))["rwalk"]
    assert penalty > 1e-3 and float(found) == pytest.approx(penalty, rel=1e-2)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"every at least 1 and xi above 0, not 0\.03, 0 and 0\.001"):
        RWalk(every=0)
