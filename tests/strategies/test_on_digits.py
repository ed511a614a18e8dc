"""Strategies beside their references on scikit-learn's digits: plain loops, networks with random weights."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor, nn

from clplat.randomness import generator, seeded
from clplat.training.learner import Learner
from clplat.training.strategy import Strategy
from strategies import EWC, MAS, SI, L2Anchor, Naive

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
def test_ewc_by_default_keeps_and_learns(optimizer: str) -> None:
    kept, learnt = two_halves(EWC(), optimizer)
    forgot, most = two_halves(Naive(), optimizer)
    assert most > 90 and learnt > 75, "the second half is learnt"
    assert kept > forgot + 15 and kept + learnt > forgot + most + 10


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    "strategy", [EWC(lam=1e6), SI(c=1e6), MAS(lam=1e6), L2Anchor(lam=1e6)], ids=lambda s: type(s).__name__
)
def test_any_strength_is_stable(strategy: Strategy, optimizer: str) -> None:
    kept, _ = two_halves(strategy, optimizer, epochs=2)
    # L2 holds the untrained network; the others what was learnt first.
    assert kept > (90 if not isinstance(strategy, L2Anchor) else 0)
