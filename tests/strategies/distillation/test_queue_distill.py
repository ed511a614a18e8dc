"""Queue distillation against its formula in float64, over two steps, and with a teacher of another width."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.models.outputs import Outputs
from clplat.parts.teachers._base import TeacherPart
from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner
from strategies import QueueDistill

FIRST, SECOND = (tiny_collate()(tiny_domains()[0].train[i : i + 6]) for i in (0, 6))
DOMAIN = SimpleNamespace(dataset=tiny_domains()[0].train)


def cross(z: Tensor, t: Tensor, keys: Tensor) -> Tensor:
    """KL by rows, mean: temperatures 0.1 of the teacher and 0.05 of the student."""
    p, q = ((rows.double() @ keys.double().T / by).log_softmax(1) for rows, by in ((t, 0.1), (z, 0.05)))
    return (p.exp() * (p - q)).sum(1).mean()


def test_the_queue_holds_the_teachers_targets_of_earlier_batches() -> None:
    strategy, model = QueueDistill(weight=2.0, size=8), TinyTowers()
    learner = tiny_learner(model)
    old = [model(batch) for batch in (FIRST, SECOND)]
    strategy.before_experience(learner, DOMAIN)
    nudge(model, 0.3)
    strategy.loss(learner, FIRST, model(FIRST))
    strategy.after_step(learner, FIRST, model(FIRST))
    new = model(SECOND)
    found = float(strategy.loss(learner, SECOND, new)["queue"].detach())
    keys = torch.cat([old[1].candidates[:6], old[0].candidates[:6]])
    sides = [(new.query, old[1].query), (new.candidates[:6], old[1].candidates[:6])]
    expected = sum(float(cross(z, t, keys).detach()) for z, t in sides)
    assert expected > 1e-2 and found == pytest.approx(2.0 * expected / 2, rel=1e-3)
    strategy.after_step(learner, SECOND, new)
    assert strategy.state_bytes() > 8 * 8 * 4, "teacher and queue are counted"
    rows = strategy.state_dict()["queue"]["rows"]
    assert torch.allclose(rows[-6:], old[1].candidates[:6]) and torch.allclose(
        rows[:2], old[0].candidates[4:6]
    )


class Wide(TeacherPart):
    """A fixed model of another width."""

    knows = True

    def __init__(self) -> None:
        self._towers = TinyTowers(seed=5, width=12)

    def begin(self, learner: Any) -> None: ...

    def follow(self, learner: Any) -> None: ...

    @torch.no_grad()
    def outputs(self, learner: Any, batch: Any) -> Outputs:
        made: Outputs = self._towers(batch)
        return made

    def bytes(self) -> int:
        return 0

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def test_a_teacher_of_another_width_is_met_by_a_projector_that_learns() -> None:
    strategy, model = QueueDistill(weight=1.0, teacher=Wide(), size=16, seed=3), TinyTowers()
    learner, losses = tiny_learner(model), []
    strategy.before_experience(learner, DOMAIN)
    for _ in range(30):
        outputs = model(FIRST)
        loss = strategy.loss(learner, FIRST, outputs)["queue"]
        torch.autograd.backward(loss)
        strategy.after_step(learner, FIRST, outputs)
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0] and model.picture.weight.grad is not None
