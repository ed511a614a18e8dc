"""LeFT by hand, and its two traps: factors that begin without a gradient, ranks that stay equal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from clplat.errors import UserError
from clplat.mechanisms.growth import grown_layers
from clplat.mechanisms.weight_changes import Modulation
from clplat.parts.adapters.left_modulator import LeftModulator
from clplat.randomness import generator
from clplat.testing import tiny_backbone
from clplat.testing.towers import attached, train_a_little

LAYER = "visual.transformer.resblocks.1.attn.q_proj"


def test_the_weight_is_multiplied_and_added_to_as_by_hand() -> None:
    backbone: Any = tiny_backbone()
    base = {name: t.double().numpy() for name, t in backbone.model.get_submodule(LAYER).state_dict().items()}
    attached(LeftModulator(r=3, targets=["q_proj"], towers="image", last=1), backbone)
    train_a_little(backbone)
    (layer,) = grown_layers(backbone).values()
    factors = {name: p.detach().double().numpy() for name, p in layer.changes["default"].named_parameters()}
    weight = np.zeros_like(base["weight"])
    for o, row in enumerate(base["weight"]):
        for i, w in enumerate(row):
            scale = sum(factors["scale_out"][o, k] * factors["scale_in"][i, k] for k in range(3))
            shift = sum(factors["shift_out"][o, k] * factors["shift_in"][i, k] for k in range(3))
            weight[o, i] = w * scale + shift
    x = torch.randn(4, 32, dtype=torch.float64, generator=generator(0, "x"))
    found = layer.double()(x).detach().numpy()
    np.testing.assert_allclose(found, x.numpy() @ weight.T + base["bias"], rtol=1e-10)


def trained(change: Modulation, layer: nn.Linear) -> dict[str, torch.Tensor]:
    """Its factors after a few steps towards a target."""
    draw = generator(0, "target")
    x, y = torch.randn(16, 6, generator=draw), torch.randn(16, 4, generator=draw)
    optimizer: Any = torch.optim.SGD(change.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        (x @ change.of(layer.weight.detach()).T - y).square().mean().backward()
        optimizer.step()
    return {name: p.detach() for name, p in change.named_parameters()}


def test_ranks_that_begin_equal_stay_one_rank_and_ours_do_not() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    ours, even = Modulation(layer, rank=2), Modulation(layer, rank=2)
    even.scale_in.data.fill_(0.5**0.5)  # as the paper's code begins
    for change, rank in ((even, 1), (ours, 2)):
        found = trained(change, layer)
        singular = torch.linalg.svdvals(found["scale_out"] @ found["scale_in"].T)
        assert int((singular > 1e-5 * singular[0]).sum()) == rank


def test_what_begins_at_zero_on_both_sides_has_no_gradient() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(6, 4)
    zero = Modulation(layer, rank=2)
    zero.shift_in.data.zero_()
    still = trained(zero, layer)
    assert not still["shift_in"].any() and not still["shift_out"].any()
    assert bool(trained(Modulation(layer, rank=2), layer)["shift_out"].any())


def test_it_refuses_in_one_line() -> None:
    with pytest.raises(ValueError, match="r must be"):
        LeftModulator(r=0)
    with pytest.raises(ValueError, match="towers"):
        LeftModulator(towers="left")  # type: ignore[arg-type]
    backbone, adapter = tiny_backbone(), LeftModulator(r=1)
    attached(adapter, backbone)
    moved = {"visual.transformer.resblocks.0.mlp.c_fc.weight": torch.ones(128, 32)}
    with pytest.raises(UserError, match="is no sum with the base"):
        adapter.absorb(backbone, moved)
    adapter.merge(backbone)
