"""The pull of a quadratic penalty: stable at any stiffness, with the minimum of the penalised loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.mechanisms.anchor_forms import cosine, sprung, turned
from clplat.mechanisms.anchors import Anchor
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
    anchor = Anchor(strength)
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
    anchor = Anchor(strength=4.0)
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
    anchor = Anchor(strength=1.0)
    anchor.consolidate(layer, {"weight": torch.ones(1, 2)})
    nn.init.constant_(layer.weight, 3.0)
    anchor.pull(layer, adam)
    anchor.pull(layer, torch.optim.SGD([layer.bias], lr=0.1))  # nor is what it does not hold
    assert layer.weight.tolist() == [[3.0, 3.0]]


def test_a_weight_that_grew_is_pulled_in_its_old_block() -> None:
    layer = nn.Linear(2, 1, bias=False)
    anchor = Anchor(strength=1e9)
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
    anchor = Anchor(strength=1.0)
    with pytest.raises(UserError, match="the importance of weight is not finite"):
        anchor.consolidate(layer, {"weight": torch.full((1, 2), torch.inf), "bias": torch.ones(1)})
    anchor.consolidate(layer, {name: torch.ones_like(p) for name, p in layer.named_parameters()})
    nn.init.constant_(layer.bias, torch.nan)
    with pytest.raises(UserError, match="the penalty on the weights is nan: see bias"):
        anchor.penalty(layer)


def test_weights_of_another_model_are_an_error_and_not_unprotected() -> None:
    model = nn.Linear(2, 1)
    anchor = Anchor(1.0)
    anchor.consolidate(nn.DataParallel(model), {"module.weight": torch.ones(1, 2)})
    with pytest.raises(UserError, match=r"another model: 'module\.weight', where this one has 'weight'"):
        anchor.penalty(model)


def test_several_springs_pull_in_one_step_and_end_where_all_gradients_cancel() -> None:
    layer = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    anchors = []
    for strength, place in ((1e4, 0.5), (2e4, -1.0), (3e-3, 9.0)):
        nn.init.constant_(layer.weight, place)
        anchor = Anchor(strength)
        anchor.consolidate(layer, {"weight": IMPORTANCE})
        anchors.append(anchor)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05, momentum=0.9)
    for _ in range(300):
        optimizer.zero_grad()
        (CURVATURE / 2 * (layer.weight - GOAL) ** 2).sum().backward()
        optimizer.step()
        anchors[0].pull(layer, optimizer, anchors[1:])
    total, pulls = 1e4 + 2e4 + 3e-3, 1e4 * 0.5 - 2e4 + 3e-3 * 9
    expected = (CURVATURE * GOAL + IMPORTANCE * pulls) / (CURVATURE + IMPORTANCE * total)
    assert torch.allclose(layer.weight, expected, atol=1e-3)


def test_springs_of_a_weight_that_grew_pull_their_own_blocks() -> None:
    weight = torch.tensor([[1.0, 1.0], [1.0, 1.0]])
    old, new = torch.zeros(1, 2), torch.full((2, 2), 4.0)
    sprung(weight, [(torch.full_like(old, 2.0), old), (torch.ones_like(new), new)])
    assert torch.allclose(weight, torch.tensor([[5 / 4, 5 / 4], [5 / 2, 5 / 2]]))
    stiff = torch.zeros(1)
    sprung(stiff, [(torch.full((1,), 1e30), torch.ones(1)), (torch.ones(1), torch.zeros(1))])
    assert stiff.tolist() == [1.0], "a spring without end"


@pytest.mark.parametrize("strength", [0.02, 1e6])
def test_a_cosine_anchor_holds_the_direction_and_leaves_the_length_free(strength: float) -> None:
    layer = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    place, goal = torch.tensor([[3.0, 1.0]]).double(), torch.tensor([[0.0, 2.0]]).double()
    layer.weight.data.copy_(place)
    anchor = Anchor(strength, form="cosine")
    anchor.consolidate(layer, {"weight": 2 * torch.ones(1, 2).double()})
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    for _ in range(1200):
        optimizer.zero_grad()
        (0.1 * (layer.weight - goal).square().sum()).backward()
        optimizer.step()
        anchor.pull(layer, optimizer)
    found = layer.weight.detach().requires_grad_()
    angle = (found * place).sum() / found.norm() / place.norm()
    penalty = anchor.penalty(layer)
    assert penalty is not None
    assert float(penalty) == pytest.approx(strength * 2 * (1 - float(angle.detach())))
    (slope,) = torch.autograd.grad(0.1 * (found - goal).square().sum() + strength * 2 * (1 - angle), [found])
    if strength < 1:
        assert float(slope.norm()) < 1e-3, "at rest where the gradients cancel"
    else:
        along = place / place.norm()
        assert torch.allclose(found.detach(), (goal * along).sum() * along, atol=1e-3)


def test_what_has_no_direction_is_left_alone() -> None:
    weight = torch.zeros(2)
    turned(weight, torch.ones(2), 1e9)
    assert weight.tolist() == [0.0, 0.0] and float(cosine(weight, torch.ones(2))) == 1.0
    weight = torch.tensor([1.0, 2.0])
    turned(weight, torch.zeros(2), 1e9)
    assert torch.allclose(weight, torch.tensor([1.0, 2.0]))


def test_a_ball_is_left_by_no_tensor_and_adds_no_penalty() -> None:
    layer = nn.Linear(2, 1, dtype=torch.float64)
    start = {name: p.detach().clone() for name, p in layer.named_parameters()}
    anchor = Anchor(1.0, form="ball", radius=0.1)
    anchor.consolidate(layer, {"weight": torch.tensor([[1.0, 3.0]]).double(), "bias": torch.ones(1).double()})
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    with torch.no_grad():
        layer.weight += torch.tensor([[0.3, 0.4]])
        layer.bias += 0.05
    anchor.pull(layer, optimizer)
    moved = layer.weight.detach() - start["weight"]
    assert moved.tolist()[0] == pytest.approx([0.3 * 0.1 / 0.285**0.5, 0.4 * 0.1 / 0.285**0.5])
    assert float(layer.bias.detach() - start["bias"]) == pytest.approx(0.05), "inside nothing is moved"
    assert float(anchor.penalty(layer) or 0.0) == 0.0


def test_a_form_that_does_not_exist_is_named() -> None:
    with pytest.raises(ValueError, match="form must be one of quadratic, cosine, ball, not 'hard'"):
        Anchor(1.0, form="hard")  # type: ignore[arg-type]
