"""Poolings by hand: of each tower the rows that count, and no others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from clplat.models.features import TextFeatures
from clplat.parts.adapters.trained_pooling import TrainedPooling, _Pooling
from clplat.randomness import generator
from clplat.testing import AdapterContract


class TestAttention(AdapterContract):
    def make(self) -> TrainedPooling:
        return TrainedPooling("attention", rank=4)


@pytest.mark.parametrize("pool", ["own", "mean", "attention", "layers"])
def test_the_formula_by_hand(pool: str) -> None:
    network: Any = _Pooling(pool, 3, 2, 4, 5, 6).double()
    draw = generator(0, "pooling")
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    states, tokens, pooled = (
        torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((2, 4, 5), (2, 7, 5), (2, 6))
    )
    ends = torch.tensor([2, 5])
    found = network(TextFeatures(pooled=pooled, states=states, tokens=tokens, ends=ends))
    for i in range(2):
        words = tokens[i, : int(ends[i]) + 1]
        if pool in ("own", "mean"):
            x = states[i, -1] if pool == "own" else words.sum(0) / len(words)
            p = network.read(F.layer_norm(x, (5,), network.norm.weight, network.norm.bias))
        else:
            p = network.read((words if pool == "attention" else states[i])[None])[0]
        expected = pooled[i] + network.up(F.gelu(p))
        torch.testing.assert_close(found[i], expected)


def test_what_it_refuses() -> None:
    for wrong in ({"rank": 0}, {"queries": 0}, {"pool": "left"}, {"towers": "left"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            TrainedPooling(**wrong)  # type: ignore[arg-type]
