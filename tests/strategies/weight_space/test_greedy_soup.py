"""Greedy soup: what is kept is not trained on, and only models that help on it are averaged."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from clplat.training.learner import Learner
from strategies import GreedySoup


def learner_of(start: float) -> Learner:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, start)
    made = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), predict_fn=lambda b: model(b[0])[:, 0])
    made.loss_fn = lambda batch, outputs: (outputs - batch[1]).square().mean()
    return made


def data_of(slope: float, count: int = 20) -> list[tuple[torch.Tensor, float]]:
    return [(torch.ones(1), slope) for _ in range(count)]


def test_models_are_added_in_order_while_they_do_not_hurt() -> None:
    """Data of slopes 1, 3 and 9; models that learnt 1.5, 3 and 20 of them."""
    strategy, learner = GreedySoup(every=5), learner_of(0.25)
    ends = []
    for number, (slope, learnt) in enumerate([(1.0, 1.5), (3.0, 3.0), (9.0, 20.0)]):
        experience = SimpleNamespace(dataset=data_of(slope), current_experience=number)
        learner.begin(number)
        strategy.before_experience(learner, experience)
        assert learner.model.weight.item() == pytest.approx(0.25)  # type: ignore[union-attr, operator]
        learner.dataset = strategy.training_set(experience)
        nn.init.constant_(learner.model.weight, learnt)  # type: ignore[arg-type]
        strategy.after_experience(learner, experience)
        ends.append(learner.model.weight.item())  # type: ignore[union-attr, operator]

    # One domain: its own. Two, losses (w - 1)^2 and (w - 3)^2: of 1.5 they are 1.25, of 3 they are 2, and of
    # their mean, 2.25, less. Three: 3 is best, and worse together with 1.5 or with 20.
    def loss(w: float) -> float:
        return sum((w - slope) ** 2 for slope in (1.0, 3.0, 9.0)) / 3

    order = sorted([1.5, 3.0, 20.0], key=loss)
    chosen, best = [order[0]], loss(order[0])
    for model in order[1:]:
        if (value := loss(sum([*chosen, model]) / (len(chosen) + 1))) <= best:
            chosen, best = [*chosen, model], value
    assert strategy.numbers() == {"share 0": 0.0, "share 1": 1.0, "share 2": 0.0}
    assert ends == [1.5, 2.25, pytest.approx(sum(chosen) / len(chosen))] and len(chosen) == 1


def test_what_is_kept_is_never_trained_on() -> None:
    data = [(torch.full((1,), float(i)), 0.0) for i in range(23)]
    experience = SimpleNamespace(dataset=data, current_experience=0)
    strategy, learner = GreedySoup(every=10, size=2), learner_of(1.0)
    strategy.before_experience(learner, experience)
    trained = {float(x) for x, _ in strategy.training_set(experience)}
    assert trained == {*map(float, range(23))} - {9.0, 19.0}
    learner.dataset = strategy.training_set(experience)
    strategy.after_experience(learner, experience)
    stored = {float(row[0]) for rows in strategy.memory.groups.values() for row in rows}
    assert stored == {9.0, 19.0} and strategy.memory_bytes() > 0


def test_a_share_that_keeps_all_is_refused() -> None:
    with pytest.raises(ValueError, match="every must be at least 2"):
        GreedySoup(every=1)
