"""A weighted sum of losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.models.outputs import Outputs
from clplat.parts.losses import InfoNCE
from clplat.parts.losses._base import Loss
from clplat.parts.losses._combined import WeightedSum
from clplat.progress import Progress
from clplat.testing import LossContract, tiny_collate, tiny_domains


class Attract(Loss):
    """The distance of a query from its answer, from a centre that is learnt.

    Args:
        power: of the distance.
    """

    def __init__(self, power: float = 2.0) -> None:
        super().__init__()
        self.power = power

    def attach(self, towers: Any) -> None:
        self.centre = nn.Parameter(torch.zeros(32))

    def forward(self, outputs: Outputs, batch: Any, progress: Progress) -> dict[str, Tensor]:
        gap = outputs.query - outputs.candidates[: len(outputs.query)]
        return {"pull": gap.norm(dim=-1).pow(self.power).mean(), "centre": ((self.centre - 1) ** 2).sum()}


class TestWeightedSum(LossContract):
    def make(self) -> Loss:
        return WeightedSum([InfoNCE(temperature=0.1), Attract()], [1.0, 0.5])


def test_the_sum_by_hand() -> None:
    batch = tiny_collate()(tiny_domains()[0].train[:4])
    query, candidates = torch.nn.functional.normalize(torch.randn(2, 4, 32), dim=-1)
    outputs = Outputs(query, candidates, torch.tensor(10.0))
    one, other = InfoNCE(), Attract()
    other.attach(None)
    alone = one(outputs, batch, Progress(total=1))
    distance = sum(float((query[i] - candidates[i]).double().pow(2).sum()) for i in range(4)) / 4
    made = WeightedSum([one, other], [1.0, 0.25])(outputs, batch, Progress(total=1))
    assert made.keys() == {"InfoNCE", "Attract.pull", "Attract.centre"}
    assert torch.equal(made["InfoNCE"], alone)
    assert float(made["Attract.pull"]) == pytest.approx(0.25 * distance)
    twice = WeightedSum([one, one])(outputs, batch, Progress(total=1))
    assert torch.equal(twice["InfoNCE"], 2 * alone)


def test_wrong_weights_are_refused() -> None:
    for weights in ([1.0], [1.0, -1.0]):
        with pytest.raises(ValueError, match="weights must be 2 numbers of at least 0"):
            WeightedSum([InfoNCE(), Attract()], weights)


def test_losses_together_are_configured_by_their_names() -> None:
    other = f"{__name__}:Attract"
    raw = {"loss": f"info_nce,{other}", "loss.info_nce.temperature": 0.1, "loss.weights": [1, 0.5]}
    config = resolve(raw)
    made = config.make("loss")
    assert made.parts[0].temperature == 0.1 and made.weights == [1.0, 0.5]
    assert resolve(config.as_dict()) == config and config.option("loss.Attract.power") == 2.0
    with pytest.raises(UserError, match=r"loss 'info_nce,.*': weights must be 2 numbers"):
        resolve({**raw, "loss.weights": [1]})
    with pytest.raises(UserError, match="it wants a teacher"):
        resolve({"loss": "info_nce,similarity_distillation"})
