"""The loss of prototypes is the loop of its formula, and prototypes move as a mean does."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from clplat.mechanisms.prototypes import follow, ppp_loss
from clplat.randomness import generator

DRAW = generator(0, "prototypes")
ROWS = F.normalize(torch.randn(7, 4, generator=DRAW).double(), dim=1)
PROTOTYPES = F.normalize(torch.randn(3, 4, generator=DRAW).double(), dim=1)
OWN = torch.tensor([0, 0, 0, 1, 1, 2, 2])


def by_hand(t: float) -> float:
    def e(a: torch.Tensor, b: torch.Tensor) -> float:
        return math.exp(float(a @ b) / t)

    def p(m: torch.Tensor, c: int, x: torch.Tensor) -> float:
        return e(m, x) / (e(m, x) + sum(e(PROTOTYPES[k], x) for k in range(3) if k != c))

    total = 0.0
    for i, x in enumerate(ROWS):
        c = int(OWN[i])
        mates = [ROWS[j] for j in range(7) if OWN[j] == c and j != i]
        attracted = [p(m, c, x) for m in [PROTOTYPES[c], *mates]]
        total -= math.log(sum(attracted) / len(attracted))
        for j in range(7):
            if OWN[j] != c:
                total -= math.log(1 - (p(x, c, ROWS[j]) + p(PROTOTYPES[c], c, ROWS[j])) / 2)
    return total / 7


def test_the_loss_is_that_of_the_formula() -> None:
    assert float(ppp_loss(ROWS, OWN, PROTOTYPES, 0.3)) == pytest.approx(by_hand(0.3))


@pytest.mark.parametrize("sign", [1, -1])
def test_rows_at_a_prototype_have_finite_gradients_in_half_the_digits(sign: int) -> None:
    """Next to e(p, x) what other classes add up to is below the last digit."""
    prototypes = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    rows = torch.tensor([[1.0, 0.0], [0.999, 0.04], [-1.0, 0.0]])
    found = []
    for digits in (rows.float(), rows.double()):
        x = (sign * digits).requires_grad_()
        loss = ppp_loss(x, torch.tensor([0, 0, 1]), prototypes.to(x), 0.05)
        found.append((loss.detach().double(), torch.autograd.grad(loss, x)[0].double()))
    (loss, slope), (expected, slopes) = found
    assert bool(slopes.isfinite().all())
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(slope, slopes, rtol=1e-4, atol=1e-9)


def test_one_class_alone_pulls_at_nothing() -> None:
    rows = ROWS[:2].clone().requires_grad_()
    loss = ppp_loss(rows, torch.tensor([0, 0]), PROTOTYPES[:1], 0.1)
    assert float(loss.detach()) == 0.0 and not torch.autograd.grad(loss, rows)[0].any()


def test_prototypes_move_to_their_rows() -> None:
    first = follow({}, ["a", "a", "b"], torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), 0.9)
    assert torch.allclose(first["a"], torch.full((2,), 0.5**0.5)) and first["b"].tolist() == [0.0, -1.0]
    later = follow(first, ["b"], torch.tensor([[1.0, 0.0]]), 0.75)
    assert torch.allclose(later["b"], F.normalize(torch.tensor([0.25, -0.75]), dim=0))
    assert later["a"] is first["a"]
