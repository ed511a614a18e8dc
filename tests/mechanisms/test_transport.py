"""Optimal transport between small sets, by long double loops."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from clplat.mechanisms.transport import sinkhorn, transported


def slow(cosines: list[list[float]], epsilon: float, steps: int) -> list[list[float]]:
    """Sinkhorn's scalings in loops of Python's floats, without any shift."""
    rows, columns = len(cosines), len(cosines[0])
    kernel = [[math.exp(-(1 - c) / epsilon) for c in row] for row in cosines]
    left, right = [1.0] * rows, [1.0] * columns
    for _ in range(steps):
        left = [1 / rows / sum(k * r for k, r in zip(row, right, strict=True)) for row in kernel]
        right = [1 / columns / sum(kernel[i][j] * left[i] for i in range(rows)) for j in range(columns)]
    return [[left[i] * kernel[i][j] * right[j] for j in range(columns)] for i in range(rows)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).double() * 2 - 1


def test_a_plan_is_that_of_slow_scalings_and_carries_even_masses() -> None:
    cosines, there = drawn(3, 5), torch.ones(5, dtype=torch.bool)
    plan = sinkhorn(cosines, there[:3], there, epsilon=0.1, steps=50)
    torch.testing.assert_close(plan, torch.tensor(slow(cosines.tolist(), 0.1, 50)).double())
    torch.testing.assert_close(plan.sum(0), torch.full((5,), 0.2).double())
    score = transported(cosines, there[:3], there, 0.1)
    expected = sum(plan[i, j] * cosines[i, j] for i in range(3) for j in range(5))
    torch.testing.assert_close(score, expected)


def test_what_is_no_member_changes_nothing() -> None:
    cosines = drawn(2, 4, 6)
    mine = torch.tensor([[True, True, False, False], [True] * 4])
    theirs = torch.tensor([[True, False, True, False, False, False], [True] * 6])
    found = transported(cosines, mine, theirs, 0.1)
    small = cosines[0][:2][:, [0, 2]]
    alone = transported(small, torch.ones(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool), 0.1)
    torch.testing.assert_close(found[0], alone)


def test_a_score_does_not_depend_on_the_others_of_its_batch() -> None:
    """The public code stops all at a mean error: one pair that converges slowly changes the others."""
    cosines, there = drawn(64, 4, 9).float(), torch.ones(64, 9, dtype=torch.bool)
    whole = transported(cosines, there[:, :4], there, 0.1)
    for i in (0, 17):
        assert torch.equal(whole[i], transported(cosines[i : i + 1], there[:1, :4], there[:1], 0.1)[0])


def test_the_plan_has_no_gradient() -> None:
    cosines, there = drawn(3, 4).requires_grad_(), torch.ones(4, dtype=torch.bool)
    transported(cosines, there[:3], there, 0.1).backward()
    torch.testing.assert_close(cosines.grad, sinkhorn(cosines.detach(), there[:3], there, 0.1))
