"""L2: the squared distance to earlier weights."""

from __future__ import annotations

import pytest

from clplat.testing import TinyTowers, nudge, tiny_learner
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
