"""Previous is the model as the last experience left it."""

from __future__ import annotations

import copy

import torch

from clplat.parts.teachers.previous import Previous
from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner

BATCH = tiny_collate()(tiny_domains()[0].train[:4])


def test_it_is_taken_anew_for_each_experience() -> None:
    part, model = Previous(), TinyTowers()
    learner = tiny_learner(model)
    for _ in range(2):
        part.begin(learner)
        then = copy.deepcopy(model)
        nudge(model, 0.2)
        assert torch.equal(part.outputs(learner, BATCH).query, then(BATCH).query)
