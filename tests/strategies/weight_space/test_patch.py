"""Patch against its formula."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clplat.testing import (
    TinyTowers,
    nudge,
    plain_step,
    tiny_collate,
    tiny_domains,
    tiny_learner,
)
from clplat.testing.checks import weights
from strategies import Patch

BATCH = tiny_collate()(tiny_domains()[0].train[:8])
FIRST, SECOND = (SimpleNamespace(dataset=domain.train) for domain in tiny_domains())


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
