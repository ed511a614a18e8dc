"""WeightAverage: the running mean of an experience's weights."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clplat.progress import Progress
from clplat.testing import tiny_learner
from strategies import WeightAverage


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.0]))
        self.fixed = nn.Parameter(torch.tensor([5.0]), requires_grad=False)


def walk(strategy: WeightAverage, model: Line, values: list[float]) -> Tensor:
    learner = tiny_learner(model)
    strategy.before_experience(learner, None)
    for value in values:
        model.weight.data.fill_(value)
        strategy.after_step(learner, None, None)
    assert model.weight.item() == values[-1], "training goes on from the weights themselves"
    strategy.after_experience(learner, None)
    return model.weight.detach().clone()


def test_the_model_becomes_the_mean_of_the_start_and_every_few_steps() -> None:
    model = Line()
    model.weight.data.fill_(2.0)
    # (1 * 2 + 4) / 2 = 3, (2 * 3 + 9) / 3 = 5, and at the end (3 * 5 + 101) / 4 = 29.
    assert walk(WeightAverage(every=2), model, [1.0, 4.0, 7.0, 9.0, 101.0]).item() == pytest.approx(29.0)
    assert model.fixed.item() == 5.0


def test_an_experience_begins_from_the_mean_and_with_a_new_one() -> None:
    strategy, model = WeightAverage(every=1), Line()
    assert walk(strategy, model, [1.0, 2.0]).item() == pytest.approx(1.0)
    assert walk(strategy, model, [4.0]).item() == pytest.approx((1.0 + 4.0) / 2)


def test_an_experience_of_few_steps_is_learnt_from() -> None:
    assert walk(WeightAverage(every=100), Line(), [1.0, 3.0]).item() == pytest.approx(1.5)


def test_an_exponential_mean_begins_as_a_plain_one() -> None:
    # (0 + 3) / 2 = 1.5, then (2 * 1.5 + 9) / 3 = 4: a third is more than a quarter.
    assert walk(WeightAverage(every=1, decay=0.75), Line(), [3.0, 9.0]).item() == pytest.approx(4.0)
    # From the fourth model on a quarter.
    ends = 0.75 * (0.75 * 4.0 + 0.25 * 8.0) + 0.25 * 1.0
    assert walk(WeightAverage(every=1, decay=0.75), Line(), [3.0, 9.0, 8.0, 1.0]).item() == pytest.approx(
        ends
    )


def test_models_near_the_peak_count_most() -> None:
    """PromptSRC's mean: normalised weights of a Gaussian, over all models of an experience."""
    strategy, model, values = WeightAverage(every=1, peak=0.5, spread=0.2), Line(), [3.0, 9.0, 8.0, 1.0]
    learner = tiny_learner(model)
    strategy.before_experience(learner, None)
    weights = [math.exp(-((0 - 0.5) ** 2) / (2 * 0.2**2))]
    for done, value in enumerate(values, 1):
        learner.progress = Progress(done=done, total=4)
        model.weight.data.fill_(value)
        strategy.after_step(learner, None, None)
        weights.append(math.exp(-((done / 4 - 0.5) ** 2) / (2 * 0.2**2)))
    strategy.after_experience(learner, None)
    expected = sum(w * v for w, v in zip(weights, [0.0, *values], strict=True)) / sum(weights)
    assert model.weight.item() == pytest.approx(expected, rel=1e-5)


def test_a_beta_average_is_that_of_clipoods_code() -> None:
    """Each model by the density of Beta(b, b) at (t + 1/2) / (T + 1), the one before the first step too."""
    values, model, strategy = [3.0, 9.0, 8.0, 1.0], Line(), WeightAverage(every=1, beta=0.5)
    learner: Any = SimpleNamespace(model=model, progress=Progress(total=4))
    strategy.before_experience(learner, None)
    for value in values:
        model.weight.data.fill_(value)
        learner.progress = learner.progress.stepped()
        strategy.after_step(learner, None, None)
    strategy.after_experience(learner, None)
    density = torch.distributions.Beta(0.5, 0.5).log_prob((torch.arange(5.0) + 0.5) / 5).exp()
    expected = (density * torch.tensor([0.0, *values])).sum() / density.sum()
    assert model.weight.item() == pytest.approx(float(expected), abs=1e-5)
    with pytest.raises(ValueError, match="1 beside a decay"):
        WeightAverage(decay=0.9, beta=0.5)


def test_a_wrong_interval_is_refused() -> None:
    with pytest.raises(ValueError, match="do not go together"):
        WeightAverage(decay=0.9, peak=0.5)
    with pytest.raises(ValueError, match="every must be at least 1, not 0"):
        WeightAverage(every=0)
