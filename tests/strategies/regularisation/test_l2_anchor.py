"""L2: the squared distance to earlier weights."""

from __future__ import annotations

import pytest
import torch

from clplat.parts.adapters.full import Full
from clplat.testing import (
    TinyTowers,
    nudge,
    plain_step,
    tiny_collate,
    tiny_domains,
    tiny_learner,
    tiny_retriever,
)
from clplat.testing.checks import weights
from strategies import L2Anchor


@pytest.mark.parametrize("anchor", ["previous", "initial"])
def test_it_is_the_squared_distance_to_the_weights_before(anchor: str) -> None:
    strategy, learner = L2Anchor(lam=0.7, anchor=anchor), tiny_learner(TinyTowers())  # type: ignore[arg-type]
    starts = []
    for _ in range(2):
        starts.append(weights(learner.model))
        strategy.before_experience(learner, None)
        nudge(learner.model, 0.1)
    start = starts[-1 if anchor == "previous" else 0]
    free = [(n, p.detach().double()) for n, p in learner.model.named_parameters() if p.requires_grad]
    expected = sum(float(((p - start[name].double()) ** 2).sum()) for name, p in free)
    found = strategy.loss(learner, None, None)
    assert float(found["l2"].detach()) == pytest.approx(0.7 * expected, rel=1e-5)


def test_a_wrong_strength_is_refused() -> None:
    with pytest.raises(ValueError, match="lam must be at least 0, not -1"):
        L2Anchor(lam=-1.0)


def test_a_bound_is_kept_by_every_tensor_and_a_direction_by_all() -> None:
    """After each step: in the ball no tensor is further than its radius, whatever the step."""
    for form in ("ball", "cosine"):
        strategy, learner = L2Anchor(lam=1e9, form=form, radius=0.01), tiny_learner(TinyTowers())  # type: ignore[arg-type]
        strategy.before_experience(learner, None)
        start = weights(learner.model)
        plain_step(strategy, learner, tiny_collate()(tiny_domains()[0].train[:8]))
        for name, p in learner.model.named_parameters():
            if not p.requires_grad:
                continue
            moved = (p.detach() - start[name]).double()
            if form == "ball":
                assert float(moved.square().mean().sqrt()) <= 0.01 * (1 + 1e-5)
            elif float(start[name].norm()) > 0:
                assert (
                    float(torch.cosine_similarity(p.detach().flatten(), start[name].flatten(), dim=0))
                    > 0.9999
                )
        assert float(strategy.loss(learner, None, None)["l2"]) >= 0


def test_prolip_holds_a_copy_of_the_projection() -> None:
    """The trap of its public code: a penalty on the distance to the trained tensor itself stays 0."""
    learner = tiny_learner(tiny_retriever(Full(towers="image", last=0)))
    strategy = L2Anchor(lam=1.0, anchor="initial")
    strategy.before_experience(learner, None)
    assert float(strategy.loss(learner, None, None)["l2"]) == 0.0
    plain_step(strategy, learner, tiny_collate()(tiny_domains()[0].train[:8]))
    assert float(strategy.loss(learner, None, None)["l2"]) > 0
