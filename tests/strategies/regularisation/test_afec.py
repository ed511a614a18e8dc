"""AFEC against its formula: the model, the weights that learn the new domain alone, and both matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from clplat.training.learner import Learner
from strategies import AFEC

RATE, DECAY, LAM, LAM_NEW = 0.05, 0.9, 3.0, 2.0
DATA = [
    (torch.tensor([[1.0, 0.5], [0.2, -1.0]]).double(), torch.tensor([1.0, -2.0]).double()),
    (torch.tensor([[0.3, 1.0], [-1.0, 0.4]]).double(), torch.tensor([-1.0, 0.5]).double()),
]


def slope(weight: Tensor, data: tuple[Tensor, Tensor]) -> Tensor:
    """Of the mean squared error, written out."""
    x, y = data
    return 2 * ((x @ weight - y)[:, None] * x).mean(0)


def slow(steps: int) -> tuple[Tensor, Tensor, Tensor]:
    """The model after two domains, the other weights, and the matrix of the first domain."""
    weight, running = torch.tensor([0.1, -0.2]).double(), torch.zeros(2).double()
    for _ in range(steps):
        g = slope(weight, DATA[0])
        running, weight = DECAY * running + (1 - DECAY) * g**2, weight - RATE * g
    fisher, anchor = running / running.mean(), weight.clone()
    other, speed, other_running = weight.clone(), torch.zeros(2).double(), torch.zeros(2).double()
    for _ in range(steps):
        weight = weight - RATE * slope(weight, DATA[1])
        sure = other_running / other_running.mean().clamp_min(1e-30)
        old, new = RATE * LAM * fisher, RATE * LAM_NEW * sure
        weight = (weight + old * anchor + new * other) / (1 + old + new)
        g = slope(other, DATA[1])
        speed = 0.9 * speed + 0.1 * g
        other, other_running = other - RATE * speed, DECAY * other_running + (1 - DECAY) * g**2
    return weight, other, fisher


@pytest.fixture
def learner() -> Learner:
    model = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    model.weight.data.copy_(torch.tensor([[0.1, -0.2]]))
    made = Learner(
        model, torch.optim.SGD(model.parameters(), lr=RATE), predict_fn=lambda b: model(b[0])[:, 0]
    )
    made.loss_fn = lambda batch, outputs: (outputs - batch[1]).square().mean()
    return made


def trained(strategy: AFEC, learner: Learner, steps: int) -> list[dict[str, Tensor]]:
    said = []
    for data in DATA:
        with strategy.experience(learner) as experience:
            for _ in range(steps):
                outputs = learner.predict(data)
                said.append(strategy.loss(learner, data, outputs))
                learner.optimizer.zero_grad()
                (learner.task_loss(data, outputs) + experience.loss(data, outputs)).backward()
                learner.optimizer.step()
    return said


def test_it_is_the_formula(learner: Learner) -> None:
    strategy = AFEC(lam=LAM, lam_new=LAM_NEW, decay=DECAY)
    said = trained(strategy, learner, 4)
    weight, other, fisher = slow(4)
    assert torch.allclose(learner.model.weight[0], weight, atol=1e-9)  # type: ignore[index, arg-type]
    assert torch.allclose(strategy._expanded.tensors["weight"][0], other, atol=1e-9)
    assert [bool(terms) for terms in said] == [False] * 4 + [True] * 4
    assert float(said[4]["afec"]) == 0.0 and float(said[7]["afec"]) > 0
    # Matrices are averaged over domains, not summed: their mean stays 1.
    held = strategy.anchor.importance["weight"]
    assert float(held.mean()) == pytest.approx(1.0) and not torch.allclose(held[0], fisher)


def test_the_new_domain_pulls_the_model_to_what_it_would_learn_alone(learner: Learner) -> None:
    ends, start = {}, learner.model.state_dict()["weight"].clone()
    for lam_new in (0.0, 30.0):
        learner.model.load_state_dict({"weight": start})
        strategy = AFEC(lam=5.0, lam_new=lam_new, decay=DECAY)
        trained(strategy, learner, 40)
        ends[lam_new] = float((learner.model.weight - strategy._expanded.tensors["weight"]).norm().detach())  # type: ignore[operator]
    assert ends[30.0] < 0.5 * ends[0.0]
