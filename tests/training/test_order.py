"""Hooks called where they would give wrong numbers are errors that say the right call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import TensorDataset

from clplat.training.combined import Combined
from clplat.training.learner import Learner
from clplat.training.order import WrongCall
from clplat.training.strategy import Strategy
from strategies import AGEM, EWC, Cumulative, Naive

X, Y = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1])
Wrong = Callable[[Strategy, Learner], None]


def fresh() -> Learner:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
    data = TensorDataset(X, Y)
    return Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), dataset=data)


def backward(strategy: Strategy, learner: Learner, share: float = 1.0) -> torch.Tensor:
    learner.optimizer.zero_grad()
    outputs = learner.model(X)
    loss = F.cross_entropy(outputs, Y) + sum(strategy.loss(learner, (X, Y), outputs).values())
    (share * loss).backward()
    return outputs


def step(strategy: Strategy, learner: Learner) -> None:
    outputs = backward(strategy, learner)
    strategy.after_backward(learner)
    learner.optimizer.step()
    strategy.after_step(learner, (X, Y), outputs)


def per_micro_batch(strategy: Strategy, learner: Learner) -> None:
    for _ in range(2):
        backward(strategy, learner)
        strategy.after_backward(learner)


def never_after_backward(strategy: Strategy, learner: Learner) -> None:
    outputs = backward(strategy, learner)
    learner.optimizer.step()
    strategy.after_step(learner, (X, Y), outputs)


def never_after_step(strategy: Strategy, learner: Learner) -> None:
    backward(strategy, learner)
    strategy.after_backward(learner)
    learner.optimizer.step()
    strategy.after_experience(learner, 0)


def after_step_twice(strategy: Strategy, learner: Learner) -> None:
    step(strategy, learner)
    strategy.after_step(learner, (X, Y), None)


def every_second_step(strategy: Strategy, learner: Learner) -> None:
    backward(strategy, learner)
    strategy.after_backward(learner)
    learner.optimizer.step()
    learner.optimizer.step()
    strategy.after_step(learner, (X, Y), None)


def never_the_loss(strategy: Strategy, learner: Learner) -> None:
    F.cross_entropy(learner.model(X), Y).backward()
    strategy.after_backward(learner)
    learner.optimizer.step()
    strategy.after_step(learner, (X, Y), None)
    strategy.after_experience(learner, 0)


def begun_twice(strategy: Strategy, learner: Learner) -> None:
    step(strategy, learner)
    strategy.before_experience(learner, 0)


def ended_twice(strategy: Strategy, learner: Learner) -> None:
    strategy.after_experience(learner, 0)
    strategy.after_experience(learner, 0)


def scaled(strategy: Strategy, learner: Learner) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    backward(strategy, learner, 1024.0)
    scaler.scale(torch.ones(()))
    strategy.after_backward(learner)
    nn.utils.clip_grad_value_(learner.model.parameters(), 1e9)
    scaler.step(learner.optimizer)


def not_finite(strategy: Strategy, learner: Learner) -> None:
    outputs = backward(strategy, learner, float("inf"))
    strategy.after_backward(learner)
    learner.optimizer.step()
    strategy.after_step(learner, (X, Y), outputs)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            per_micro_batch,
            "after_backward was called twice before one step.*after the backward pass of the last",
        ),
        (never_after_backward, r"stepped without after_backward: call strategy\.after_backward\(learner\)"),
        (never_after_step, r"after_step was not called for 1 steps.*after each optimizer\.step\(\)"),
        (after_step_twice, "after_step was called without a step"),
        (every_second_step, "after_step was called once in 2 steps"),
        (never_the_loss, r"loss was never called.*strategy\.loss\(learner, batch, outputs\)"),
        (begun_twice, "before_experience was called twice"),
        (ended_twice, "after_experience was called twice"),
        (scaled, r"scaled by 1024: call scaler\.unscale_\(optimizer\) before"),
        (not_finite, "stepped with gradients that are not finite"),
    ],
)
@pytest.mark.parametrize("make", [EWC, lambda: Combined([EWC(), AGEM()])], ids=["ewc", "combined"])
def test_wrong_use_is_an_error(make: Callable[[], Strategy], wrong: Wrong, said: str) -> None:
    strategy, learner = make(), fresh()
    strategy.before_experience(learner, 0)
    with pytest.raises(WrongCall, match=said):
        wrong(strategy, learner)


def test_what_does_not_train_on_its_own_data_is_an_error() -> None:
    strategy, learner = Cumulative(), fresh()
    strategy.before_experience(learner, 0)
    step(strategy, learner)
    with pytest.raises(
        WrongCall, match=r"Cumulative chooses what is trained on: take strategy\.training_set"
    ):
        strategy.after_experience(learner, 0)


def test_right_use_counts_experiences_and_steps() -> None:
    strategy, learner = EWC(), fresh()
    for task in range(2):
        strategy.before_experience(learner, task)
        for _ in range(3):
            step(strategy, learner)
            learner.stepped()  # of a loop that counts for itself: nothing is counted twice
        strategy.after_experience(learner, task)
    assert (learner.progress.experience, learner.progress.step, learner.progress.done) == (1, 6, 3)
    assert set(strategy.fisher) == {"weight", "bias"}


def test_accumulated_steps_measure_what_whole_batches_do() -> None:
    ends = []
    for parts in (1, 2):
        strategy, learner = EWC(), fresh()
        strategy.before_experience(learner, 0)
        for _ in range(3):
            learner.optimizer.zero_grad()
            for x, y in zip(X.chunk(parts), Y.chunk(parts), strict=True):
                outputs = learner.model(x)
                loss = F.cross_entropy(outputs, y) + sum(strategy.loss(learner, (x, y), outputs).values())
                (loss / parts).backward()
            strategy.after_backward(learner)
            learner.optimizer.step()
            strategy.after_step(learner, (x, y), outputs)
        strategy.after_experience(learner, 0)
        ends.append(strategy.fisher["weight"])
    assert torch.allclose(*ends, rtol=1e-4)


def test_steps_that_a_scaler_skips_are_none() -> None:
    ends = []
    for overflows in (False, True):
        strategy, learner = EWC(), fresh()
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=100)
        strategy.before_experience(learner, 0)
        for value in (1.0, *([torch.inf] if overflows else []), 1.0):
            outputs = backward(strategy, learner, scaler.get_scale() * value)
            scaler.scale(torch.ones(()))
            scaler.unscale_(learner.optimizer)
            strategy.after_backward(learner)
            scaler.step(learner.optimizer)
            scaler.update()
            strategy.after_step(learner, (X, Y), outputs)
        strategy.after_experience(learner, 0)
        assert learner.progress.step == 2
        ends.append(strategy.fisher["weight"])
    assert torch.equal(*ends)


def test_gradients_that_are_clipped_are_none_that_were_scaled() -> None:
    strategy, learner = EWC(), fresh()
    strategy.before_experience(learner, 0)
    outputs = backward(strategy, learner, 1e4)
    strategy.after_backward(learner)
    nn.utils.clip_grad_norm_(learner.model.parameters(), 1e-3)
    learner.optimizer.step()
    strategy.after_step(learner, (X, Y), outputs)
    strategy.after_experience(learner, 0)


def test_hooks_keep_their_arguments_and_may_call_those_of_their_parents() -> None:
    class Child(EWC):
        def after_backward(self, learner: Any) -> None:
            super().after_backward(learner)

    assert list(inspect.signature(Child.after_backward).parameters) == ["self", "learner"]
    strategy, learner = Child(), fresh()
    strategy.before_experience(learner=learner, experience=0)
    step(strategy, learner)
    strategy.after_experience(learner, experience=0)
    assert strategy.fisher and Naive().loss(None, None, None) == {}  # type: ignore[arg-type]


def test_names_have_no_prefix_of_what_torch_wraps_around_a_model() -> None:
    model = nn.Linear(3, 2)
    learner = Learner(torch.compile(nn.DataParallel(model)), torch.optim.SGD(model.parameters(), lr=0.1))
    assert learner.model is model
