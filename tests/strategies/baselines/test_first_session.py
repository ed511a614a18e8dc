"""FirstSession trains on the first domains as Naive does, and on none after them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from clplat.testing import TinyTowers, plain_loop, tiny_domains, tiny_learner
from clplat.testing.checks import difference, trainable, weights
from strategies import FirstSession, Naive


def test_the_first_domain_is_plain_training_and_later_ones_change_nothing() -> None:
    models = [TinyTowers() for _ in range(3)]
    for model in models[1:]:
        model.load_state_dict(models[0].state_dict())
    whole = plain_loop(FirstSession(), models[0])
    plain_loop(Naive(), models[1])
    assert whole and trainable(models[0]) == []
    first = plain_loop(FirstSession(first=9), models[2])
    assert not difference(weights(models[2]), weights(models[1])), "with enough domains it is naive"
    assert difference(weights(models[0]), weights(models[1])) and len(whole) < len(first)


def test_it_counts_domains_and_goes_on_where_it_was() -> None:
    strategy, model = FirstSession(first=2), TinyTowers()
    learner = tiny_learner(model)
    frozen = []
    for domain in [*tiny_domains()[:2]] * 2:
        strategy.before_experience(learner, SimpleNamespace(dataset=domain.train))
        frozen.append(not trainable(model))
    assert frozen == [False, False, True, True]
    resumed, fresh = FirstSession(first=2), TinyTowers()
    resumed.load_state_dict(strategy.state_dict())
    resumed.rebuild(tiny_learner(fresh))
    assert trainable(fresh) == []
    with pytest.raises(ValueError, match="at least 1"):
        FirstSession(first=0)
