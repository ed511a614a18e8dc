"""Momentum against its formula."""

from __future__ import annotations

import torch

from clplat.parts.teachers.momentum import Momentum
from clplat.testing import TinyTowers, nudge, tiny_learner
from clplat.testing.checks import weights


def test_it_follows_by_its_share() -> None:
    part, model = Momentum(decay=0.75), TinyTowers()
    learner = tiny_learner(model)
    part.begin(learner)
    slow = weights(model)["picture.weight"].double()
    for _ in range(3):
        nudge(model, 0.2)
        part.follow(learner)
        slow = 0.75 * slow + 0.25 * weights(model)["picture.weight"].double()
    assert torch.allclose(part.state_dict()["tensors"]["picture.weight"].double(), slow, atol=1e-6)
