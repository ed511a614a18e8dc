"""A gated mixture of readouts by hand, picture by picture in float64."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.nn.functional import gelu

from clplat.errors import UserError
from clplat.parts.adapters.mixed_readout import MixedReadout, _Mixed
from clplat.testing import tiny_backbone
from clplat.testing.towers import attached


def test_the_mixture_by_hand() -> None:
    draw = torch.Generator().manual_seed(0)
    mixed: Any = _Mixed(width=5, joint=4, rank=3, queries=2).double()
    with torch.no_grad():
        for parameter in mixed.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw))
    pooled, tokens = torch.randn(2, 4, generator=draw).double(), torch.randn(2, 6, 5, generator=draw).double()
    found = mixed(SimpleNamespace(pooled=pooled, tokens=tokens))
    out = mixed.resampler["out"][1]
    for i in range(2):
        seen = torch.zeros(3).double()
        for query in mixed.resampler_queries:
            scores = torch.stack([query @ mixed.resampler["key"](token) / 3**0.5 for token in tokens[i]])
            shares = scores.exp() / scores.exp().sum()
            seen += sum(s * mixed.resampler["value"](t) for s, t in zip(shares, tokens[i], strict=True)) / 2
        made = mixed.projection(pooled[i]), out(gelu(seen))
        gates = mixed.gate(pooled[i]).softmax(0)
        torch.testing.assert_close(found[i], pooled[i] + gates[0] * made[0] + gates[1] * made[1])


def test_both_ways_weigh_the_same_at_first() -> None:
    mixed = _Mixed(width=5, joint=4, rank=3, queries=2)
    assert torch.equal(mixed.gate(torch.ones(1, 4)).softmax(-1), torch.full((1, 2), 0.5))


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MixedReadout(queries=0)
    backbone = tiny_backbone()
    attached(MixedReadout(rank=4), backbone)
    with pytest.raises(UserError, match="attached already"):
        attached(MixedReadout(rank=4), backbone)
    with pytest.raises(UserError, match="cannot be merged"):
        MixedReadout().merge(backbone)
