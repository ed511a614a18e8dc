"""Initial is the model before the stream, however many experiences follow."""

from __future__ import annotations

import copy

import torch

from clplat.parts.teachers.initial import Initial
from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner

BATCH = tiny_collate()(tiny_domains()[0].train[:4])


def test_it_stays_the_first() -> None:
    part, model = Initial(), TinyTowers()
    learner, then = tiny_learner(model), copy.deepcopy(model)
    for _ in range(2):
        part.begin(learner)
        nudge(model, 0.2)
        assert torch.equal(part.outputs(learner, BATCH).query, then(BATCH).query)
