"""Strategies beside their references on scikit-learn's digits: plain loops, networks with random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from avalanche.benchmarks import tensors_benchmark
from avalanche.training import Naive as StockNaive
from avalanche.training.plugins import EvaluationPlugin, LwFPlugin, ReplayPlugin
from sklearn.datasets import load_digits
from torch import Tensor, nn

from clplat.randomness import generator, seeded
from clplat.training.learner import Learner
from clplat.training.strategy import Strategy
from strategies import DER, EWC, GEM, GPM, MAS, SI, Distill, DualTeacher, L2Anchor, Naive, Replay, RWalk

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

Pair = tuple[Tensor, Tensor]


def digits(classes: int) -> list[tuple[Pair, Pair]]:
    """Experiences of so many classes each, in order: pictures and labels to train on and to test on."""
    x, y = (torch.as_tensor(column) for column in load_digits(return_X_y=True))
    draw = torch.randperm(len(x), generator=generator(0, "digits"))
    x, y = x[draw].float() / 16, y[draw]
    own = [y // classes == k for k in range(10 // classes)]
    train = torch.arange(len(x)) < 1200
    return [((x[m & train], y[m & train]), (x[m & ~train], y[m & ~train])) for m in own]


def network(outputs: int, seed: int = 0) -> nn.Module:
    with seeded(seed, "network"):
        return nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, outputs))


def plain_loop(
    strategy: Strategy, learner: Learner, stream: list[tuple[Pair, Pair]], epochs: int = 5, size: int = 32
) -> list[float]:
    """README's loop; the accuracy on each experience at the end, in per cent."""
    order = generator(0, "shuffling")
    learner.predict_fn = lambda batch: learner.model(batch[0])
    learner.loss_fn = lambda batch, outputs: F.cross_entropy(outputs, batch[1])
    for number, ((x, y), _) in enumerate(stream):
        learner.begin(number)
        learner.dataset = [*zip(x, y, strict=True)]
        strategy.before_experience(learner, number)
        for rows in [
            rows for _ in range(epochs) for rows in torch.randperm(len(x), generator=order).split(size)
        ]:
            batch = (x[rows], y[rows])
            outputs = learner.model(batch[0])
            loss = F.cross_entropy(outputs, batch[1])
            loss = loss + sum(strategy.loss(learner, batch, outputs).values())
            learner.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            strategy.after_backward(learner)
            learner.optimizer.step()
            learner.stepped()
            strategy.after_step(learner, batch, outputs)
        strategy.after_experience(learner, number)
    with torch.no_grad():
        return [100 * float((learner.model(x).argmax(1) == y).float().mean()) for _, (x, y) in stream]


# -- penalties on weights ---------------------------------------------------------------------------------


def two_halves(strategy: Strategy, optimizer: str, epochs: int = 5) -> list[float]:
    """The digits 0 to 4, then 5 to 9 under the same five labels."""
    stream = [((x, y % 5), (u, v % 5)) for (x, y), (u, v) in digits(5)]
    model = network(5)
    made = {
        "sgd": lambda: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        "adam": lambda: torch.optim.Adam(model.parameters(), lr=2e-3),
    }
    return plain_loop(strategy, Learner(model, made[optimizer]()), stream, epochs)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("strategy", [EWC(), RWalk()], ids=lambda s: type(s).__name__)
def test_penalties_by_default_keep_and_learn(strategy: Strategy, optimizer: str) -> None:
    kept, learnt = two_halves(strategy, optimizer)
    forgot, most = two_halves(Naive(), optimizer)
    assert most > 90 and learnt > 75, "the second half is learnt"
    assert kept > forgot + 15 and kept + learnt > forgot + most + 10


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    "strategy",
    [EWC(lam=1e6), SI(c=1e6), MAS(lam=1e6), RWalk(lam=1e6), L2Anchor(lam=1e6)],
    ids=lambda s: type(s).__name__,
)
def test_any_strength_is_stable(strategy: Strategy, optimizer: str) -> None:
    kept, _ = two_halves(strategy, optimizer, epochs=2)
    # L2 holds the untrained network; the others what was learnt first.
    assert kept > (90 if not isinstance(strategy, L2Anchor) else 0)


@pytest.mark.parametrize("strategy", [GEM(seed=0), GPM()], ids=lambda s: type(s).__name__)
def test_projected_gradients_keep_and_learn(strategy: Strategy) -> None:
    (kept, learnt), (forgot, most) = two_halves(strategy, "adam"), two_halves(Naive(), "adam")
    assert kept > forgot + 15 and learnt > 60 and most > 90, (
        type(strategy).__name__,
        kept,
        learnt,
        forgot,
        most,
    )


# -- beside Avalanche's own -------------------------------------------------------------------------------


def stock_loop(plugin: Any, stream: list[tuple[Pair, Pair]], epochs: int, seed: int = 0) -> nn.Module:
    """The network after Avalanche's own training with one of its plugins or ours."""
    model = network(10, seed).to(stream[0][0][0].dtype)
    template = StockNaive(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=32,
        train_epochs=epochs,
        plugins=[plugin],
        evaluator=EvaluationPlugin,
    )
    train = [pair for pair, _ in stream]
    labels = [0] * len(stream)
    benchmark = tensors_benchmark(
        train_tensors=train, test_tensors=train, task_labels=labels, complete_test_set_only=False
    )
    with seeded(seed, "shuffling"):
        for experience in benchmark.train_stream:
            template.train(experience)
    return model


def accuracy(model: nn.Module, stream: list[tuple[Pair, Pair]]) -> float:
    """The mean over the experiences, in per cent."""
    with torch.no_grad():
        found = [float((model(x).argmax(1) == y).float().mean()) for _, (x, y) in stream]
    return 100 * sum(found) / len(found)


def test_replay_of_classes_reaches_avalanches() -> None:
    stream = digits(2)
    theirs = accuracy(stock_loop(ReplayPlugin(mem_size=200), stream, epochs=3), stream)
    model = network(10)
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
    plain_loop(Replay(size=200, batch_size=32, seed=0), learner, stream, epochs=3)
    plugin = Replay(size=200, batch_size=32, combine="mean", seed=0).as_plugin()
    ours = accuracy(model, stream), accuracy(stock_loop(plugin, stream, epochs=3), stream)
    assert theirs > 70 and min(ours) > theirs - 5, (ours, theirs)
    plain = accuracy(stock_loop(Naive().as_plugin(), stream, epochs=3), stream)
    assert min(ours) > plain + 30, (ours, plain)


def test_distillation_of_logits_is_avalanches_lwf() -> None:
    stream = [((x.double()[:96], y[:96]), test) for (x, y), test in digits(2)[:3]]
    ours, theirs, neither = (
        stock_loop(plugin, stream, epochs=1)
        for plugin in (
            Distill(weight=1.5, temperature=3.0).as_plugin(),
            LwFPlugin(alpha=1.5, temperature=3.0),
            Naive().as_plugin(),
        )
    )
    for own, other, plain in zip(ours.parameters(), theirs.parameters(), neither.parameters(), strict=True):
        assert torch.allclose(own, other, atol=1e-9) and not torch.allclose(own, plain, atol=1e-4)


def test_distillation_learns_from_random_weights_and_keeps() -> None:
    stream = [((x, y % 5), (u, v % 5)) for (x, y), (u, v) in digits(5)]
    ends = {}
    for strategy in (Naive(), Distill()):
        model = network(5)
        learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
        ends[type(strategy).__name__] = plain_loop(strategy, learner, stream)
    (forgot, most), (kept, learnt) = ends["Naive"], ends["Distill"]
    assert kept > forgot + 30 and learnt > 70 and most > 90, ends


# -- what a model may put out -----------------------------------------------------------------------------


class Clip(nn.Module):
    """Outputs as open_clip's: (image, text, scale)."""

    def __init__(self) -> None:
        super().__init__()
        with seeded(0, "towers"):
            self.image, self.text = nn.Linear(64, 8), nn.Linear(10, 8)

    def forward(self, batch: Pair) -> tuple[Tensor, Tensor, Tensor]:
        words = F.one_hot(batch[1], 10).float()
        return F.normalize(self.image(batch[0])), F.normalize(self.text(words)), torch.tensor(20.0)


@pytest.mark.parametrize("strategy", [Distill(), DualTeacher(), DER(size=20), MAS(), Replay(size=20)])
def test_open_clips_outputs_are_taken(strategy: Strategy) -> None:
    model = Clip()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    learner = Learner(model, optimizer, predict_fn=model, pretrained=True)
    learner.loss_fn = lambda batch, made: F.cross_entropy(
        made[2] * made[0] @ made[1].T, torch.arange(len(made[0]))
    )
    (x, y), _ = digits(5)[0]
    learner.dataset = [*zip(x[:20], y[:20], strict=True)]
    for number in range(2):
        strategy.before_experience(learner, number)
        for _ in range(3):
            outputs = model((x[:8], y[:8]))
            terms = strategy.loss(learner, (x[:8], y[:8]), outputs)
            loss = learner.task_loss(None, outputs) + sum(terms.values())
            optimizer.zero_grad()
            loss.backward()
            strategy.after_backward(learner)
            optimizer.step()
            strategy.after_step(learner, (x[:8], y[:8]), outputs)
        strategy.after_experience(learner, number)
    assert set(strategy.terms) == terms.keys() and all(float(term.detach()) > 0 for term in terms.values())
