"""An experience in a loop of one's own: hooks run where the optimizer steps, once, on whole gradients."""

from __future__ import annotations

import re
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from clplat import registry
from clplat.errors import UserError
from clplat.mechanisms.parameter_groups import Group
from clplat.training.learner import Learner
from clplat.training.phases import Phase
from clplat.training.strategy import Strategy
from strategies import EWC, Cumulative, Frozen, Replay


class Recording(Strategy):
    """Writes down which hooks are called, and the gradient and weight that they see."""

    terms = ("half",)

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def before_experience(self, learner: Any, experience: Any) -> None:
        self.calls.append(("begin", experience.current_experience))

    def loss(self, learner: Any, batch: Any, outputs: Any) -> dict[str, Tensor]:
        self.calls.append("loss")
        return {"half": 0.5 * outputs.mean()}

    def after_backward(self, learner: Any) -> None:
        (weight,) = learner.model.parameters()
        self.calls.append(("gradient", weight.grad.item()))

    def after_step(self, learner: Any, batch: Any, outputs: Any) -> None:
        (weight,) = learner.model.parameters()
        self.calls.append(("weight", round(weight.item(), 6), learner.progress.done))

    def after_experience(self, learner: Any, experience: Any) -> None:
        self.calls.append("end")


def one_weight() -> Learner:
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    return Learner(model, torch.optim.SGD(model.parameters(), lr=0.1), predict_fn=model)


def test_hooks_run_once_where_the_optimizer_steps() -> None:
    strategy, learner = Recording(), one_weight()
    x = torch.ones(1, 1)
    for _ in range(2):
        with strategy.experience(learner) as experience:
            for _ in range(2):  # micro-batches of one step
                outputs = learner.model(x)
                (outputs.mean() + experience.loss(x, outputs)).div(2).backward()
            learner.optimizer.step()
            learner.optimizer.zero_grad()
    first = [("begin", 0), "loss", "loss", ("gradient", 1.5), ("weight", 0.85, 1), "end"]
    second = [("begin", 1), "loss", "loss", ("gradient", 1.5), ("weight", 0.7, 1), "end"]
    assert strategy.calls == first + second
    learner.optimizer.step()
    assert len(strategy.calls) == len(first + second), "outside the context nothing is watched"


def test_a_step_without_the_terms_is_an_error() -> None:
    learner = one_weight()
    wrong = pytest.raises(RuntimeError, match=r"without the terms of Recording: add experience\.loss")
    with wrong, Recording().experience(learner):
        learner.model(torch.ones(1, 1)).sum().backward()
        learner.optimizer.step()
    learner.optimizer.step()  # watched no more


def test_steps_of_another_optimizer_are_an_error() -> None:
    learner, x = one_weight(), torch.ones(1, 1)
    other = torch.optim.SGD(learner.model.parameters(), lr=0.1)
    wrong = pytest.raises(RuntimeError, match=r"steps another optimizer than learner\.optimizer")
    with wrong, Recording().experience(learner) as experience:
        (learner.model(x).sum() + experience.loss(x, x)).backward()
        other.step()


def test_gradients_may_be_looked_at_before_they_are_clipped_but_once() -> None:
    strategy, learner, x = Recording(), one_weight(), torch.ones(1, 1)
    with strategy.experience(learner) as experience:
        outputs = learner.model(x)
        (outputs.sum() + experience.loss(x, outputs)).backward()
        experience.after_backward()
        nn.utils.clip_grad_norm_(learner.model.parameters(), 0.1)
        learner.optimizer.step()
    assert [call for call in strategy.calls if call[0] == "gradient"] == [("gradient", 1.5)]
    with (
        pytest.raises(RuntimeError, match="twice before one step"),
        strategy.experience(learner) as experience,
    ):
        outputs = learner.model(x)
        (outputs.sum() + experience.loss(x, outputs)).backward()
        experience.after_backward()
        experience.after_backward()


@pytest.mark.parametrize("clips", [False, True])
def test_a_scaler_shows_unscaled_gradients_and_skips_those_that_overflow(clips: bool) -> None:
    """Also where the loop clips: it tells the experience before it unscales."""
    strategy, learner, x = Recording(), one_weight(), torch.ones(1, 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with strategy.experience(learner) as experience:
        for value in (1.0, float("inf"), 1.0):
            learner.optimizer.zero_grad()
            outputs = learner.model(x * value)
            scaler.scale(outputs.mean() + experience.loss(x, outputs)).backward()
            if clips:
                experience.after_backward(scaler.get_scale())
                scaler.unscale_(learner.optimizer)
            scaler.step(learner.optimizer)
            scaler.update()
    seen = [call for call in strategy.calls if call[0] in ("gradient", "weight")]
    assert seen == [("gradient", 1.5), ("weight", 0.85, 1), ("gradient", 1.5), ("weight", 0.7, 2)]


@pytest.mark.parametrize("tells", [True, False])
def test_a_closure_says_when_gradients_are_complete(tells: bool) -> None:
    strategy, learner, x = Recording(), one_weight(), torch.ones(1, 1)

    def closure() -> float:
        outputs = learner.model(x)
        (outputs.mean() + experience.loss(x, outputs)).backward()
        if tells:
            experience.after_backward()
        return 0.0

    error = nullcontext() if tells else pytest.raises(RuntimeError, match="at the end of the closure")
    with error, strategy.experience(learner) as experience:
        learner.optimizer.step(closure)
    assert (("gradient", 1.5) in strategy.calls) == tells


def test_the_optimizer_may_come_later_and_trains_what_the_strategy_adds_and_no_more() -> None:
    class Growing(Recording):
        def before_experience(self, learner: Any, experience: Any) -> None:
            learner.model.grown = nn.Linear(1, 1)

        def after_backward(self, learner: Any) -> None: ...

        def after_step(self, learner: Any, batch: Any, outputs: Any) -> None: ...

    model, x = nn.ModuleDict({"head": nn.Linear(1, 1), "left": nn.Linear(1, 1)}), torch.ones(1, 1)
    left = model["left"].weight.item()
    for optimizer in (None, torch.optim.SGD(model["head"].parameters(), lr=0.1)):
        with Growing().experience(Learner(model, optimizer)) as experience:
            start = model.grown.weight.item()
            if optimizer is None:
                experience.follow(torch.optim.SGD([*model["head"].parameters()], lr=0.1))
            outputs = model.grown(model["head"](model["left"](x)))
            (outputs.sum() + experience.loss(x, outputs)).backward()
            experience.learner.optimizer.step()
        assert model.grown.weight.item() != start and model["left"].weight.item() == left


def stream() -> list[TensorDataset]:
    draw = torch.Generator().manual_seed(0)
    centres = 2.0 * torch.randn(2, 3, 5, generator=draw)
    labels = torch.arange(3).repeat(20)
    return [TensorDataset(c[labels] + 0.3 * torch.randn(60, 5, generator=draw), labels) for c in centres]


def trained(strategy: Strategy) -> tuple[nn.Module, list[int]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
    learner = Learner(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        predict_fn=lambda batch: model(batch[0]),
        loss_fn=lambda batch, outputs: F.cross_entropy(outputs, batch[1]),
    )
    sizes = []
    for dataset in stream():
        with strategy.experience(learner, dataset) as experience:
            sizes.append(len(experience.dataset))
            for batch in DataLoader(experience.dataset, 20):
                outputs = model(batch[0])
                loss = F.cross_entropy(outputs, batch[1]) + experience.loss(batch, outputs)
                learner.optimizer.zero_grad()
                loss.backward()
                learner.optimizer.step()
    return model, sizes


@pytest.mark.parametrize("name", registry.names("strategies"))
def test_every_strategy_trains_in_it_or_says_what_it_needs(name: str) -> None:
    strategy = registry.load("strategies", name)()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        untrained = nn.Linear(5, 3).weight
    try:
        model, _ = trained(strategy)
    except (UserError, TypeError) as error:
        assert re.search(r"needs|outputs are", str(error)) and "\n" not in str(error), error
        declared = strategy.needs_embeddings or not strategy.any_module or strategy.reads_reference
        assert declared or "needs clplat's batches" in str(error)
    else:
        assert torch.equal(model.weight, untrained) != strategy.trains  # type: ignore[arg-type]


def test_the_controls_and_a_memory_work_in_it() -> None:
    assert trained(Cumulative())[1] == [60, 120]
    frozen, _ = trained(Frozen())
    fresh, _ = trained(EWC())
    assert not torch.equal(frozen.weight, fresh.weight)  # type: ignore[arg-type]
    replay = Replay(size=10, batch_size=4)
    trained(replay)
    assert replay.memory_bytes() == 10 * (5 * 4 + 8)


class Looking(Strategy):
    """Writes down the batches that `after_step` is told of."""

    def __init__(self) -> None:
        self.steps: list[Any] = []

    def after_step(self, learner: Any, batch: Any, outputs: Any) -> None:
        self.steps.append(len(batch["x"]))


def test_texts_of_several_widths_are_no_batch_for_those_who_look() -> None:
    learner, strategy = one_weight(), Looking()
    said = pytest.raises(UserError, match=r"rows of \(1,\) and \(2,\), which are no batch.*pad texts")
    with said, strategy.experience(learner) as experience:
        for width in (1, 2):
            outputs = learner.model(torch.ones(3, 1))
            (outputs.mean() + experience.loss({"x": torch.ones(3, width)}, outputs)).backward()
        learner.optimizer.step()


@pytest.mark.parametrize("zeroes", ["before", "after"])
def test_examples_of_a_skipped_step_are_not_those_of_the_next(zeroes: str) -> None:
    strategy, learner = Looking(), one_weight()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with strategy.experience(learner) as experience:
        for size, value in ((2, 1.0), (3, float("inf")), (4, 1.0)):
            for micro in range(2):
                x = torch.full((size, 1), value)
                outputs = learner.model(x)
                loss = outputs.mean() + experience.loss({"x": x}, outputs)
                if zeroes == "before" and not micro:
                    learner.optimizer.zero_grad()
                scaler.scale(loss).backward()
                with torch.no_grad():  # a look at other data
                    experience.loss({"x": torch.ones(9, 1)}, outputs)
            scaler.step(learner.optimizer)
            scaler.update()
            if zeroes == "after":
                learner.optimizer.zero_grad()
    assert strategy.steps == [4, 8]


def test_two_batches_of_one_backward_pass_are_both_looked_at() -> None:
    strategy, learner = Looking(), one_weight()
    with strategy.experience(learner) as experience:
        made = [(x, learner.model(x)) for x in (torch.ones(2, 1), torch.ones(3, 1))]
        losses = [outputs.mean() + experience.loss({"x": x}, outputs) for x, outputs in made]
        sum(losses).backward()
        learner.optimizer.step()
    assert strategy.steps == [5]


class Phased(Strategy):
    """The first weight alone and fast, then both."""

    def phases(self, experience: Any) -> Any:
        return [Phase("first", 2, lambda name: name == "0.weight", lr=0.5), Phase("both")]

    def after_experience(self, learner: Any, experience: Any) -> None:
        self.ended = learner.progress.phase, learner.progress.epochs


def two_weights() -> Learner:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    for parameter in model.parameters():
        nn.init.ones_(parameter)
    return Learner(model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))


def test_phases_train_what_they_say_as_fast_as_they_say() -> None:
    strategy, learner, x, seen = Phased(), two_weights(), torch.ones(1, 1), []
    first, second = learner.model.parameters()
    with strategy.experience(learner) as experience:
        for epoch in experience.epochs(1):
            outputs = learner.model(x)
            (outputs.sum() + experience.loss(x, outputs)).backward()
            learner.optimizer.step()
            seen.append((epoch, learner.progress.phase, first.item(), second.item()))
            learner.optimizer.zero_grad()
    # By hand: d/da ab = b; velocity 1, then 0.9 + 1; then both at 0.1 with the velocities that they have.
    a1, a2 = 1 - 0.5 * 1, 0.5 - 0.5 * 1.9
    a3, b3 = a2 - 0.1 * (0.9 * 1.9 + 1), 1 - 0.1 * a2
    want = [(0, "first", a1, 1.0), (1, "first", a2, 1.0), (2, "both", a3, b3)]
    assert [one[:2] for one in seen] == [one[:2] for one in want]
    assert [one[2:] for one in seen] == [pytest.approx(one[2:], abs=1e-6) for one in want]
    assert [p.requires_grad for p in (first, second)] == [True, True] and strategy.ended == ("both", 3)
    assert learner.optimizer.param_groups[0]["lr"] == 0.1


def test_rates_of_single_tensors_are_not_passed_over() -> None:
    class Slow(Strategy):
        def groups(self, names: Any) -> Any:
            return [Group([name for name in names if name == "0.weight"], 0.1)]

    with pytest.raises(TypeError, match="Slow gives tensors a rate of their own"):
        Slow().experience(two_weights()).__enter__()


def test_a_loop_that_does_not_go_through_the_phases_is_told_how() -> None:
    learner, x = two_weights(), torch.ones(1, 1)
    said = pytest.raises(TypeError, match=r"Phased .* phases, which needs `for epoch in experience\.epochs")
    with said, Phased().experience(learner) as experience:
        experience.loss(x, learner.model(x))
