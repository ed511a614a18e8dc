"""Average is the mean of the models that it took."""

from __future__ import annotations

import torch

from clplat.parts.teachers._base import TeacherPart
from clplat.parts.teachers.average import Average
from clplat.testing import TeacherContract, TinyTowers, nudge, tiny_learner
from clplat.testing.checks import weights


class TestEveryStep(TeacherContract):
    def make(self) -> TeacherPart:
        return Average(every=1)


def test_it_takes_every_second_model() -> None:
    part, model = Average(every=2), TinyTowers()
    learner, taken = tiny_learner(model), []
    part.begin(learner)
    for step in range(5):
        if step % 2 == 0:
            taken.append(weights(model)["picture.weight"].double())
        nudge(model, 0.2)
        part.follow(learner)
    mean = torch.stack(taken).mean(0)
    assert torch.allclose(part.state_dict()["tensors"]["picture.weight"].double(), mean, atol=1e-6)
