"""Frozen never updates."""

from __future__ import annotations

from types import SimpleNamespace

from clplat.testing import TinyTowers, plain_loop, tiny_domains, tiny_learner
from clplat.testing.checks import difference, trainable, weights
from strategies import Frozen


def test_nothing_is_trained() -> None:
    model = TinyTowers()
    before, learner = weights(model), tiny_learner(model)
    Frozen().before_experience(learner, SimpleNamespace(dataset=tiny_domains()[0].train))
    assert trainable(model) == []
    assert plain_loop(Frozen(), model) == [] and not difference(weights(model), before)
