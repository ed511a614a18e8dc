"""Momentum contrast against its formula in float64; nothing is its own wrong answer."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner
from strategies import MomentumContrast

FIRST, SECOND = (tiny_collate()(tiny_domains()[0].train[i : i + 6]) for i in (0, 3))
DOMAIN = SimpleNamespace(dataset=tiny_domains()[0].train)


def slow(rows: Tensor, answers: Tensor, names: list[str], queue: Tensor, queued: list[str]) -> float:
    """Rows over answers and queue at temperature 0.1, without what is the same in the queue."""
    total = 0.0
    for i, row in enumerate(rows.double()):
        logits = torch.cat([answers, queue]).double() @ row / 0.1
        counts = torch.tensor([True] * len(answers) + [name != names[i] for name in queued])
        log_p = logits.masked_fill(~counts, -torch.inf).log_softmax(0)
        right = [j for j, name in enumerate(names) if name == names[i]]
        total -= float(log_p[right].mean().detach())
    return total / len(rows)


def test_queries_and_targets_are_told_from_the_queues_of_a_slower_model() -> None:
    strategy, model = MomentumContrast(weight=1.5, size=32, temperature=0.1), TinyTowers()
    learner = tiny_learner(model)
    old = [model(batch) for batch in (FIRST, SECOND)]  # the slower model begins here, and follows no step
    strategy.before_experience(learner, DOMAIN)
    strategy.teacher.follow = lambda learner: None  # type: ignore[method-assign]
    nudge(model, 0.3)
    strategy.loss(learner, FIRST, model(FIRST))
    strategy.after_step(learner, FIRST, model(FIRST))
    new = model(SECOND)
    found = float(strategy.loss(learner, SECOND, new)["momentum"].detach())
    names, queued = SECOND.labels[:6], FIRST.labels[:6]
    assert set(names) & set(queued), "some of the queue is no wrong answer"
    forth = slow(new.query, old[1].candidates[:6], names, old[0].candidates[:6], queued)
    back = slow(new.candidates[:6], old[1].query, names, old[0].query, queued)
    assert found == pytest.approx(1.5 * (forth + back) / 2, rel=1e-3)
    assert len(strategy.state_dict()["queries"]["names"]) == 6


def test_logits_are_refused() -> None:
    strategy, model = MomentumContrast(), TinyTowers()
    strategy.before_experience(tiny_learner(model), DOMAIN)
    with pytest.raises(TypeError, match="embeddings of two sides"):
        strategy.loss(tiny_learner(model), FIRST, torch.zeros(6, 3))
