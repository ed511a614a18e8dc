"""GDumb trains on the memory alone, from the first weights, and its memory is balanced."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from clplat.testing import TinyTowers, nudge, tiny_domains, tiny_learner
from clplat.testing.loop import Experience
from clplat.training.learner import Learner
from strategies import GDumb


def stream() -> list[Experience]:
    found: list[Experience] = []
    for number, domain in enumerate(tiny_domains()):
        found.append(Experience(domain.train, number, found))
    return found


def test_it_begins_anew_and_sees_the_memory_alone() -> None:
    strategy, learner = GDumb(size=10, epochs=7), tiny_learner(TinyTowers())
    first, second = stream()
    start = {name: p.detach().clone() for name, p in learner.model.named_parameters()}
    strategy.before_experience(learner, first)
    assert len(strategy.training_set(first)) == 10
    nudge(learner.model, 0.5)
    strategy.before_experience(learner, second)
    assert all(torch.equal(start[name], p) for name, p in learner.model.named_parameters())
    learner.dataset = strategy.training_set(second)
    ids = [example.id for example in learner.dataset]
    assert len({*ids}) == 10 and sum(example.domain == "frame-none" for example in learner.dataset) == 5
    strategy.after_experience(learner, second)
    assert strategy.memory_bytes() > 10 * 2 * 3 * 16 * 16
    assert [phase.epochs for phase in strategy.phases(second)] == [7]


def test_every_class_has_an_equal_share_though_classes_come_unequally() -> None:
    strategy, model = GDumb(size=12), torch.nn.Linear(1, 4)
    learner = Learner(model)
    numbers = [(torch.zeros(1), y) for y in [0] * 50 + [1] * 5 + [2] * 3]
    later = [(torch.ones(1), y) for y in [3] * 20 + [0] * 20]
    experiences: list[Any] = []
    for number, data in enumerate((numbers, later)):
        experiences.append(
            SimpleNamespace(dataset=data, current_experience=number, origin_stream=experiences)
        )
    strategy.before_experience(learner, experiences[0])
    labels = [y for _, y in strategy.training_set(experiences[0])]
    assert [labels.count(y) for y in range(3)] == [5, 4, 3]
    strategy.before_experience(learner, experiences[1])
    labels = [y for _, y in strategy.training_set(experiences[1])]
    assert [labels.count(y) for y in range(4)] == [3, 3, 3, 3]
