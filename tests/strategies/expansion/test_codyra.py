"""CoDyRA: the proximal step by hand, ranks that are given up for good, and the sum that is a merge."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.mechanisms.growth import merge_grown
from clplat.mechanisms.low_rank import ScaledRanks, low_rank_layers
from clplat.parts.adapters._growing import Growing
from clplat.parts.composers.sum import Sum
from clplat.testing import tiny_retriever
from clplat.testing.runs import tiny_stream, tiny_trainer
from clplat.testing.towers import embeddings
from strategies import CoDyRA

SMALL = Growing(r=4, alpha=4.0, targets=["q_proj"], towers="image")


def test_the_step_is_the_proximal_operator_of_the_penalty() -> None:
    """``argmin_v (v - w)^2 / 2 + k |v|``, looked for on a grid."""
    change = ScaledRanks(torch.nn.Linear(3, 3), rank=5).double()
    change.scales.data = torch.tensor([1.2, 0.3, -0.3, 0.1, -0.75], dtype=torch.float64)
    grid = torch.linspace(-2, 2, 40001, dtype=torch.float64)
    best = [grid[((grid - w) ** 2 / 2 + 0.25 * grid.abs()).argmin()] for w in change.scales.detach()]
    change.shrink(0.25)
    torch.testing.assert_close(change.scales.detach(), torch.stack(best), atol=1e-4, rtol=0)
    assert change.alive() == 4
    # The paper's code subtracts, and then takes away what is below the threshold: 0.3 would be gone.
    assert float(change.scales[1].detach()) == pytest.approx(0.05)


def test_the_threshold_begins_behind_the_dense_share_and_grows_evenly() -> None:
    strategy = CoDyRA(kappa=0.1, dense=0.5)
    assert [strategy.threshold(share) for share in (0.2, 0.5)] == [0.0, 0.0]
    assert strategy.threshold(0.75) == pytest.approx(0.05) and strategy.threshold(1.0) == pytest.approx(0.1)
    for wrong in ({"kappa": -1.0}, {"dense": 1.0}):
        with pytest.raises(ValueError, match="kappa"):
            CoDyRA(**wrong)  # type: ignore[arg-type]


def test_what_survives_is_said_for_each_layer_and_the_sum_is_what_merging_gives() -> None:
    strategy, model = CoDyRA(kappa=0.3, dense=0.0, lora=SMALL), tiny_retriever(None, Sum())
    trainer = tiny_trainer(strategy, model)
    trainer.train(tiny_stream()[0], eval_streams=[])
    layers = low_rank_layers(model.backbone)
    first: Any = {path: layer.newest() for path, layer in layers.items()}
    said = strategy.numbers()
    alive = {f"rank {path}": change.alive() for path, change in first.items()}
    assert said == {"ranks": sum(alive.values()) / 8, **alive} and 0 < said["ranks"] < 1
    weights = {path: change.scales.clone() for path, change in first.items()}
    trainer.train(tiny_stream()[1], eval_streams=[])
    assert all(torch.equal(change.scales, weights[path]) for path, change in first.items()), "frozen for good"
    assert all(len(layer.in_use()) == 2 for layer in layers.values())
    summed = embeddings(model.backbone)
    merge_grown(model.backbone)
    assert not model.backbone.adapters.installed
    for tower, rows in embeddings(model.backbone).items():
        torch.testing.assert_close(rows, summed[tower], atol=1e-5, rtol=0)


def test_without_a_penalty_all_ranks_count() -> None:
    strategy, model = CoDyRA(kappa=0.0, lora=SMALL), tiny_retriever(None, Sum())
    tiny_trainer(strategy, model).train(tiny_stream()[0], eval_streams=[])
    assert strategy.numbers()["ranks"] == 1.0
