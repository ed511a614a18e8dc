"""A loop that calls all hooks itself, and a record of calls: what other people's loops are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from clplat.testing.loop import Experience
from clplat.training.course import Course
from clplat.training.learner import Learner
from clplat.training.micro_batches import joined
from clplat.training.phases import spans
from clplat.training.strategy import Strategy

__all__ = ["Calls", "by_hand", "sgd"]

_HOOKS = ("before_experience", "loss", "after_backward", "after_step", "after_experience")


@dataclass
class Calls:
    """What a strategy was called with.

    Attributes:
        order: names of the hooks.
        batches: by experience.
        norms: of the gradient that each step's `after_backward` saw.
    """

    order: list[str] = field(default_factory=list)
    batches: list[list[Any]] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)

    def watch(self, strategy: Strategy) -> Strategy:
        """Stand before the hooks of this one object."""
        for name in _HOOKS:
            setattr(strategy, name, self._noting(name, getattr(strategy, name)))
        return strategy

    def _noting(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        def noted(learner: Any, *given: Any) -> Any:
            self.order.append(name)
            if name == "before_experience":
                self.batches.append([])
            elif name == "loss":
                self.batches[-1].append(given[0])
            elif name == "after_backward":
                trained = [p for p in learner.model.parameters() if p.requires_grad]
                gradients = [p.grad for p in trained if p.grad is not None]
                self.norms.append(float(nn.utils.get_total_norm(gradients)))
            return hook(learner, *given)

        return noted


def sgd(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    """Without a memory of earlier steps, so that a loop may build a new one for each experience."""
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad] or model.parameters(), lr=lr)


def by_hand(
    strategy: Strategy,
    learner: Learner,
    stream: Sequence[Any],
    batches: Sequence[Sequence[Any]],
    parts: int = 1,
) -> None:
    """Train on the batches that another loop has drawn, one pass for each phase of an experience.

    Args:
        learner: with ``predict_fn`` and ``loss_fn``; its optimizer is made here.
        stream: the data set of each experience.
        batches: as `Calls.batches`.
        parts: batches per step of the optimizer, whose mean is the loss.
    """
    past: list[Experience] = []
    for number, (dataset, drawn) in enumerate(zip(stream, batches, strict=True)):
        past.append(Experience(dataset, number, past))
        learner.begin(number)
        torch.manual_seed(number)  # initial weights of what grows
        strategy.before_experience(learner, past[-1])
        phases = strategy.phases(past[-1])
        learner.optimizer, learner.dataset = sgd(learner.model), strategy.training_set(past[-1])
        course, each = Course(phases, learner), len(drawn) // spans(phases, 1)[-1].stop
        for epoch in course.epochs(1):
            strategy.before_epoch(learner)
            _pass(strategy, learner, drawn[epoch * each : (epoch + 1) * each], parts)
        course.leave()
        strategy.after_experience(learner, past[-1])


def _pass(strategy: Strategy, learner: Learner, drawn: Sequence[Any], parts: int) -> None:
    made: list[Any] = []
    for i, batch in enumerate(drawn):
        outputs = learner.predict(batch)
        made.append(outputs)
        terms = strategy.loss(learner, batch, outputs)
        nothing = torch.zeros((), requires_grad=True)  # of a domain that trains nothing
        loss = torch.stack([learner.task_loss(batch, outputs), *terms.values(), nothing]).sum() / parts
        loss.backward()  # type: ignore[no-untyped-call]
        if (i + 1) % parts == 0:
            strategy.after_backward(learner)
            learner.optimizer.step()
            learner.optimizer.zero_grad()
            learner.stepped()
            strategy.after_step(learner, joined(drawn[i + 1 - parts : i + 1]), joined(made))
            made = []
