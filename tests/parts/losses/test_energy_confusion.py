"""Energy confusion by hand: pairs of different answers alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.models.outputs import Outputs
from clplat.parts.losses.energy_confusion import EnergyConfusion
from clplat.progress import Progress


class Named:
    """What the loss reads of a batch."""

    def __init__(self, labels: list[str]) -> None:
        self.labels, self.weights = labels, torch.tensor([1.0, 0.5, 2.0, 1.0])

    def __len__(self) -> int:
        return len(self.weights)


def test_it_is_the_mean_squared_distance_of_different_answers() -> None:
    draw = torch.Generator().manual_seed(0)
    query, target = (normalize(torch.randn(4, 8, generator=draw), dim=1).requires_grad_() for _ in range(2))
    batch: Any = Named(["a", "b", "a", "", "c"])
    candidates = torch.cat([target, torch.ones(1, 8)])  # what is no target is no part of it
    found = EnergyConfusion()(Outputs(query, candidates, torch.tensor(10.0)), batch, Progress())
    pairs = [(0, 1), (0, 3), (1, 2), (1, 3), (2, 3)]  # all but the two of "a"; no name is like no other
    weights, total, mass = batch.weights.double(), 0.0, 0.0
    for i, j in pairs:
        for rows in (query, target):
            total += float(weights[i] * weights[j] * (rows[i] - rows[j]).double().square().sum().detach()) / 2
        mass += float(weights[i] * weights[j])
    assert float(found.detach()) == pytest.approx(total / mass, rel=1e-5)
    found.backward()  # type: ignore[no-untyped-call]
    assert query.grad is not None and bool(query.grad.any()) and bool(target.grad.any())


def test_one_answer_confuses_nothing() -> None:
    batch: Any = Named(["a"] * 4)
    assert (
        float(EnergyConfusion()(Outputs(torch.eye(4), torch.eye(4), torch.tensor(1.0)), batch, Progress()))
        == 0
    )
