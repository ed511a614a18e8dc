"""Streams without boundaries: experiences are made of steps, and what went by is their data."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from clplat.training.combined import Combined
from clplat.training.learner import Learner
from clplat.training.strategy import Strategy
from strategies import AGEM, DER, EWC, MAS, SI, Cumulative, LoRAPerDomain, Replay

DRAW = torch.Generator().manual_seed(0)
STREAM = [(torch.randn(4, 3, generator=DRAW), torch.tensor([0, 1, 0, 1])) for _ in range(10)]


def trained(strategy: Strategy, every: int | None) -> Learner:
    """A learner after the stream, in experiences of so many steps; None: with boundaries after 4 and 8."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
    learner = Learner(
        model,
        torch.optim.SGD(model.parameters(), lr=0.1),
        predict_fn=lambda batch: model(batch[0]),
        loss_fn=lambda batch, outputs: F.cross_entropy(outputs, batch[1]),
    )

    def step(batch: tuple[torch.Tensor, torch.Tensor], terms: object) -> None:
        outputs = learner.predict(batch)
        learner.optimizer.zero_grad()
        (learner.task_loss(batch, outputs) + terms.loss(batch, outputs)).backward()  # type: ignore[attr-defined]
        learner.optimizer.step()

    if every is not None:
        with strategy.stream(learner, every=every) as stream:
            for batch in STREAM:
                step(batch, stream)
        return learner
    for part in (STREAM[:4], STREAM[4:8], STREAM[8:]):
        data = [(x, y) for batch in part for x, y in zip(*batch, strict=True)]
        with strategy.experience(learner, data) as experience:
            for batch in part:
                step(batch, experience)
    return learner


@pytest.mark.parametrize(
    "make",
    [
        EWC,
        SI,
        MAS,
        DER,
        lambda: Replay(size=6),
        lambda: AGEM(size=6),
        lambda: Combined([EWC(), Replay(size=6)]),
    ],
)
def test_experiences_of_steps_are_those_with_boundaries_there(make: type[Strategy]) -> None:
    by_steps, by_boundaries = trained(make(), 4), trained(make(), None)
    assert by_steps.progress.experience == by_boundaries.progress.experience == 2
    assert by_steps.progress.step == 10 and by_steps.progress.done == 2
    found, expected = by_steps.model.state_dict(), by_boundaries.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize(
    ("strategy", "said"),
    [(Cumulative(), "chooses the data of an experience"), (LoRAPerDomain(), "grows with every experience")],
)
def test_what_needs_boundaries_says_so(strategy: Strategy, said: str) -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(TypeError, match=said):
        strategy.stream(Learner(model, torch.optim.SGD(model.parameters(), lr=0.1)), every=3)


def test_a_memory_without_data_says_so_before_it_trains() -> None:
    model = nn.Linear(1, 1)
    learner = Learner(model, torch.optim.SGD(model.parameters(), lr=0.1))
    wrong = pytest.raises(TypeError, match=r"Replay looks at what was trained on: .* not int")
    with wrong, Replay().experience(learner, 0):
        pass
