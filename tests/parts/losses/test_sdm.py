"""SDM against its definition in float64, one number at a time."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.models.outputs import Outputs
from clplat.parts.losses.sdm import SDM
from clplat.progress import Progress
from clplat.testing import LossContract


class TestSDM(LossContract):
    def make(self) -> SDM:
        return SDM(temperature=0.2)  # at 0.02 a half aligned batch is as good as an aligned one


def world(seed: int, rows: int = 5, extra: int = 3) -> tuple[Outputs, Any]:
    draw = torch.Generator().manual_seed(seed)
    query = normalize(torch.randn(rows, 12, generator=draw), dim=1)
    candidates = normalize(torch.randn(rows + extra, 12, generator=draw), dim=1)
    diagonal = torch.eye(rows, rows + extra, dtype=torch.bool)
    batch = SimpleNamespace(
        positive=diagonal | (torch.rand(rows, rows + extra, generator=draw) < 0.25),
        valid=diagonal | (torch.rand(rows, rows + extra, generator=draw) < 0.7),
        weights=torch.rand(rows, generator=draw),
    )
    return Outputs(query.requires_grad_(), candidates.requires_grad_(), torch.tensor(9.0)), Sized(batch, rows)


class Sized:
    def __init__(self, held: Any, rows: int) -> None:
        self.__dict__.update(vars(held))
        self.rows = rows

    def __len__(self) -> int:
        return self.rows


def slow(cosines: Tensor, positive: Tensor, valid: Tensor, weights: list[float], scale: float) -> float:
    total = mass = 0.0
    for i, row in enumerate(cosines.tolist()):
        usable = [j for j in range(len(row)) if valid[i, j]]
        right = [j for j in usable if positive[i, j]]
        if not right:
            continue
        norm = sum(math.exp(scale * row[j]) for j in usable)
        p = {j: math.exp(scale * row[j]) / norm for j in usable}
        wanted = {j: (1 / len(right) if j in right else 0.0) + 1e-8 for j in usable}
        # The model's distribution first: the reverse order of a cross-entropy.
        total += weights[i] * sum(p[j] * (math.log(p[j]) - math.log(wanted[j])) for j in usable)
        mass += weights[i]
    return total / mass


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_definition(seed: int) -> None:
    outputs, batch = world(seed)
    cosines = outputs.query.detach().double() @ outputs.candidates.detach().double().T
    masks, weights = (batch.positive, batch.valid), batch.weights.tolist()
    for temperature, scale in ((0.1, 10.0), (None, 9.0)):
        expected = slow(cosines, *masks, weights, scale)
        expected += slow(*(matrix[:, :5].T for matrix in (cosines, *masks)), weights, scale)
        found = SDM(temperature)(outputs, batch, Progress())
        assert found.item() == pytest.approx(expected, rel=1e-4)


def test_all_right_answers_share_evenly() -> None:
    """Two triplets of one answer: it is lowest where both targets are equally near."""
    outputs, batch = world(0, rows=2, extra=0)
    batch.positive, batch.valid = torch.ones(2, 2).bool(), torch.ones(2, 2).bool()
    assert float(SDM(0.1)(outputs, batch, Progress()).detach()) > 1e-3
    outputs.query = outputs.candidates = torch.ones(2, 4) / 2
    assert SDM(0.1)(outputs, batch, Progress()).item() == pytest.approx(0.0, abs=1e-5)


def test_rows_without_an_answer_are_left_out_without_nan() -> None:
    outputs, batch = world(1)
    batch.valid[2] = False
    batch.valid[:, 1] = False
    batch.positive[3] = False
    loss = SDM(0.02)(outputs, batch, Progress())
    loss.backward()
    assert outputs.query.grad is not None and bool(outputs.query.grad.isfinite().all())
    assert bool(loss.isfinite())


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="temperature must be above 0, not 0"):
        SDM(temperature=0.0)
    with pytest.raises(ValueError, match="epsilon must be above 0"):
        SDM(epsilon=0.0)
