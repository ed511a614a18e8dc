"""Identities by hand: one classifier of both sides, rows before normalisation, names as classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.models.outputs import Outputs, Rows
from clplat.models.view import Towers
from clplat.parts.losses.identities import Identities, class_of
from clplat.progress import Progress
from clplat.randomness import seeded
from clplat.testing import tiny_backbone


class Named:
    """What the loss reads of a batch."""

    def __init__(self, labels: list[str], weights: list[float]) -> None:
        self.labels, self.weights = labels, torch.tensor(weights)

    def __len__(self) -> int:
        return len(self.weights)


def test_both_sides_are_classified_by_one_layer() -> None:
    loss = Identities(classes=11)
    with seeded(0, "identities"):
        loss.attach(Towers(tiny_backbone()))
    draw = torch.Generator().manual_seed(0)
    query, target = torch.randn(2, 4, 24, generator=draw)
    batch: Any = Named(["a", "b", "", "a", "b"], [1.0, 0.5, 2.0, 3.0])
    made = Outputs(torch.zeros(4, 24), torch.zeros(5, 24), torch.tensor(10.0))
    candidates = torch.cat([target, torch.ones(1, 24)])  # what is no target is no part of it
    made.parts = {"raw_query": Rows(query), "raw_candidates": Rows(candidates, "candidate")}
    found = loss(made, batch, Progress())
    total, mass = 0.0, 0.0
    for i, name in ((0, "a"), (1, "b"), (3, "a")):  # no name is no class
        for side in (query, target):
            logits = loss.layer.weight.double() @ side[i].double() + loss.layer.bias.double()
            cost = logits.logsumexp(0) - logits[class_of(name, 11)]
            total += float(batch.weights[i]) * float(cost.detach()) / 2
        mass += float(batch.weights[i])
    assert float(found.detach()) == pytest.approx(total / mass, rel=1e-6)
    assert class_of("a", 11) != class_of("b", 11)
    with pytest.raises(ValueError, match="classes must be at least 2"):
        Identities(classes=1)
