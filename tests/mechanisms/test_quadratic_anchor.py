"""The pull of a quadratic penalty: stable at any stiffness, with the minimum of the penalised loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.mechanisms.quadratic_anchor import QuadraticAnchor
from clplat.mechanisms.step_size import step_sizes

OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "dampened": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.5),
    "adam": lambda p: torch.optim.Adam(p, lr=0.03),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.03, weight_decay=0.0, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.03),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.5),
}
CURVATURE = torch.tensor([[0.5, 1.0, 2.0]], dtype=torch.float64)
GOAL = torch.tensor([[1.0, -1.0, 2.0]], dtype=torch.float64)
IMPORTANCE = torch.tensor([[1.0, 0.0, 3.0]], dtype=torch.float64)


def trained(name: str, strength: float, steps: int = 400) -> Tensor:
    """Weights that were at 0 and hold there, after training on ``curvature / 2 (theta - goal)^2``."""
    layer = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    anchor = QuadraticAnchor(strength)
    anchor.consolidate(layer, {"weight": IMPORTANCE})
    optimizer = OPTIMIZERS[name](layer.parameters())
    for step in range(steps):
        loss = (CURVATURE / 2 * (layer.weight - GOAL) ** 2).sum()
        penalty = anchor.penalty(layer)
        assert penalty is not None
        optimizer.zero_grad()
        (loss + penalty).backward()
        if name in ("adam", "adamw", "rmsprop"):  # their steps do not shrink by themselves
            optimizer.param_groups[0]["lr"] = 0.03 * min(1.0, 3 * (1 - step / steps))
        optimizer.step()
        anchor.pull(layer, optimizer)
    return layer.weight.detach()


@pytest.mark.parametrize("strength", [0.5, 1e5])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_it_ends_where_the_gradients_of_task_and_penalty_cancel(name: str, strength: float) -> None:
    expected = CURVATURE * GOAL / (CURVATURE + strength * IMPORTANCE)
    assert torch.allclose(trained(name, strength), expected, atol=0.01), expected


def test_one_step_is_the_minimum_of_the_penalty_and_of_its_metric() -> None:
    layer = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(layer.weight)
    anchor = QuadraticAnchor(strength=4.0)
    anchor.consolidate(layer, {"weight": torch.tensor([[1.0, 1e30]], dtype=torch.float64)})
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.25, momentum=0.5)
    nn.init.constant_(layer.weight, 3.0)
    anchor.pull(layer, optimizer)
    # argmin_x (x - 3)^2 / (2 s) + 4 / 2 x^2 with s = 0.25 / (1 - 0.5)
    assert layer.weight.tolist() == [[pytest.approx(3 / (1 + 0.5 * 4)), pytest.approx(0.0, abs=1e-20)]]


def test_what_the_optimizer_never_moved_stays() -> None:
    layer = nn.Linear(2, 1)
    adam = torch.optim.Adam(layer.parameters())
    assert step_sizes(adam) == {}
    anchor = QuadraticAnchor(strength=1.0)
    anchor.consolidate(layer, {"weight": torch.ones(1, 2)})
    nn.init.constant_(layer.weight, 3.0)
    anchor.pull(layer, adam)
    anchor.pull(layer, torch.optim.SGD([layer.bias], lr=0.1))  # nor is what it does not hold
    assert layer.weight.tolist() == [[3.0, 3.0]]


def test_a_weight_that_grew_is_pulled_in_its_old_block() -> None:
    layer = nn.Linear(2, 1, bias=False)
    anchor = QuadraticAnchor(strength=1e9)
    anchor.consolidate(layer, {"weight": torch.ones(1, 2)})
    old = layer.weight.detach().clone()
    layer.weight = nn.Parameter(torch.full((3, 2), 5.0))
    for optimizer in (torch.optim.SGD(layer.parameters(), lr=0.1), torch.optim.Adam(layer.parameters())):
        layer.weight.grad = torch.ones(3, 2)
        optimizer.step()
        anchor.pull(layer, optimizer)
        assert torch.allclose(layer.weight[:1], old, atol=1e-4)
        assert bool((layer.weight[1:] > 4.8).all())


def test_a_penalty_that_is_not_finite_is_an_error() -> None:
    layer = nn.Linear(2, 1)
    anchor = QuadraticAnchor(strength=1.0)
    with pytest.raises(UserError, match="the importance of weight is not finite"):
        anchor.consolidate(layer, {"weight": torch.full((1, 2), torch.inf), "bias": torch.ones(1)})
    anchor.consolidate(layer, {name: torch.ones_like(p) for name, p in layer.named_parameters()})
    nn.init.constant_(layer.bias, torch.nan)
    with pytest.raises(UserError, match="the penalty on the weights is nan: see bias"):
        anchor.penalty(layer)


def test_weights_of_another_model_are_an_error_and_not_unprotected() -> None:
    model = nn.Linear(2, 1)
    anchor = QuadraticAnchor(1.0)
    anchor.consolidate(nn.DataParallel(model), {"module.weight": torch.ones(1, 2)})
    with pytest.raises(UserError, match=r"another model: 'module\.weight', where this one has 'weight'"):
        anchor.penalty(model)
