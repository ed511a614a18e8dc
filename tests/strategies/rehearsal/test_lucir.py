"""LUCIR: the margin by hand, and the weight of what must not turn."""

from __future__ import annotations

import pytest
import torch

from clplat.testing import TinyTowers, nudge, tiny_collate, tiny_domains, tiny_learner
from clplat.training.learner import Learner
from strategies import LUCIR
from strategies.rehearsal.lucir import margin_loss

FIRST, SECOND = (domain.train for domain in tiny_domains())


def test_a_stored_query_is_held_apart_from_the_hardest_new_candidates() -> None:
    right = torch.tensor([0.9, 0.2], dtype=torch.float64)
    wrong = torch.tensor([[0.5, 0.1, 0.3], [0.4, -torch.inf, 0.6]], dtype=torch.float64)
    expected = (max(0, 0.5 - 0.9 + 0.5) + max(0, 0.5 - 0.9 + 0.3) + (0.5 - 0.2 + 0.6) + (0.5 - 0.2 + 0.4)) / 4
    assert float(margin_loss(right, wrong, 0.5, 2)) == pytest.approx(expected)
    assert float(margin_loss(right, wrong[:, 1:2], 0.5, 2)) == 0.0, "what is no wrong answer asks nothing"


def stored(strategy: LUCIR, learner: Learner, number: int) -> None:
    """A domain of four examples is over."""
    strategy.before_experience(learner, None)
    learner.dataset = FIRST[4 * number : 4 * number + 4]
    strategy.after_experience(learner, None)


def test_the_terms_of_a_step_by_hand() -> None:
    strategy, learner = LUCIR(size=8, batch_size=8, apart=0.5, seed=1), tiny_learner(TinyTowers())
    batch = tiny_collate()(SECOND[:6])
    assert strategy.loss(learner, batch, learner.predict(batch)) == {}, "nothing is stored yet"
    stored(strategy, learner, 0)
    strategy.before_experience(learner, None)
    before = learner.predict(batch)
    nudge(learner.model, 0.2)
    after = learner.predict(batch)
    turned = [
        1 - torch.cosine_similarity(new.double(), old.double(), dim=1).mean()
        for new, old in ((after.query, before.query), (after.candidates[:6], before.candidates[:6]))
    ]
    expected = float((turned[0] + turned[1]).detach()) / 2
    assert float(strategy._moved(learner, batch, after).detach()) == pytest.approx(expected, rel=1e-4)
    found = strategy.loss(learner, batch, after)
    assert found.keys() == {"less_forget", "replay", "margin"}
    assert all(float(term.detach()) > 0 for term in found.values())


def test_the_weight_grows_with_the_domains_that_are_stored() -> None:
    strategy, learner = LUCIR(size=8, batch_size=4, less_forget=2.0), tiny_learner(TinyTowers())
    batch, turned = tiny_collate()(SECOND[:4]), []
    strategy._moved = lambda *_: torch.tensor(0.25)  # type: ignore[method-assign]
    for number in range(3):
        stored(strategy, learner, number)
        turned.append(float(strategy.loss(learner, batch, learner.predict(batch))["less_forget"]))
    assert turned == pytest.approx([2 * 0.25 * number**0.5 for number in (1, 2, 3)])


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="hardest at least 1"):
        LUCIR(hardest=0)
