"""GPM: what layers put out for earlier inputs stays, and the rest is learnt."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from clplat.randomness import generator
from clplat.testing.checks import weights
from clplat.training.learner import Learner
from strategies import GPM

DRAW = generator(0, "rows")
#: Inputs of two domains, in spaces of three dimensions of eight.
OLD, NEW = (torch.randn(20, 3, generator=DRAW) @ torch.randn(3, 8, generator=DRAW) for _ in range(2))


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
@pytest.mark.parametrize("hold", [True, False])
def test_outputs_for_earlier_inputs_stay(optimizer: str, hold: bool) -> None:
    model = network()
    learner = Learner(model, getattr(torch.optim, optimizer)(model.parameters(), lr=0.05))
    learner.predict_fn, strategy = (lambda batch: model(batch[0])), GPM(threshold=1.0, growth=0.0, hold=hold)
    for number, x in enumerate((OLD, NEW)):
        data = [*zip(x, torch.zeros(20), strict=True)]
        with strategy.experience(learner, data, number) as experience:
            start, before = weights(model), model(OLD).detach()
            first = float((model(x).detach() - 3.0).square().mean())
            for _ in range(20):
                learner.optimizer.zero_grad()
                loss = (model(x) - 3.0).square().mean()
                (loss + experience.loss(None, None)).backward()
                learner.optimizer.step()
            kept = torch.allclose(model(OLD), before, atol=1e-4)
            assert kept == (number == 1 and hold), "biases that are free move the outputs"
            assert float(loss.detach()) < first
    moved = weights(model)["0.weight"] - start["0.weight"]
    assert float((moved @ OLD.T).abs().max()) < 1e-4 < float(moved.norm())
    assert torch.equal(start["2.bias"], weights(model)["2.bias"]) == hold


def test_the_threshold_grows_with_the_domains() -> None:
    model, strategy = network(), GPM(threshold=0.6, growth=0.3)
    learner = Learner(model, predict_fn=lambda batch: model(batch[0]))
    learner.dataset = [(row, torch.tensor(0.0)) for row in torch.randn(60, 8, generator=DRAW)]
    sizes = []
    for _ in range(3):
        strategy.after_experience(learner, None)
        sizes.append(strategy.spaces.bases["0.weight"].shape[1])
    assert sizes[0] < sizes[1] <= sizes[2] == 8, "0.6, 0.9, and all"


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\] and growth at least 0"):
        GPM(threshold=1.5)
