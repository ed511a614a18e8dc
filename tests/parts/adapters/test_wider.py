"""Wider MLPs: one MLP of more units by hand, copies that part from what they copy."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.mechanisms.growth import grown_layers
from clplat.parts.adapters.deeper import Deeper
from clplat.parts.adapters.wider import Wider
from clplat.randomness import generator
from clplat.testing import tiny_backbone
from clplat.testing.towers import attached, train_a_little

MLP = "visual.transformer.resblocks.0.mlp"


def test_it_is_one_mlp_of_more_units() -> None:
    backbone: Any = tiny_backbone()
    dense = {key: tensor.double() for key, tensor in backbone.model.get_submodule(MLP).state_dict().items()}
    attached(Wider(units=6), backbone)
    train_a_little(backbone)
    layer = grown_layers(backbone)[MLP]
    units: Any = layer.changes["default"].double()
    rows = torch.cat([dense["c_fc.weight"], units.c_fc.weight])
    columns = torch.cat([dense["c_proj.weight"], units.c_proj.weight], dim=1)
    h = torch.randn(3, 5, 32, dtype=torch.float64, generator=generator(0, "h"))
    inside = h @ rows.T + torch.cat([dense["c_fc.bias"], units.c_fc.bias])
    by_hand = 0.5 * inside * (1 + torch.erf(inside / 2**0.5)) @ columns.T + dense["c_proj.bias"]
    torch.testing.assert_close(layer.double()(h), by_hand)
    assert sum(p.numel() for p in units.parameters()) == 6 * (2 * 32 + 1)


def test_new_units_copy_units_and_part_from_them() -> None:
    """Each has a row that is there and outgoing weights of its own; it moves where the copied one stays."""
    backbone: Any = tiny_backbone()
    attached(Wider(units=6, towers="image"), backbone)
    assert {path for path in grown_layers(backbone)} == {MLP, MLP.replace(".0.", ".1.")}
    layer: Any = grown_layers(backbone)[MLP]
    own, new = layer.base_layer.c_fc.weight, layer.changes["default"].c_fc.weight
    copies = (new[:, None] == own[None]).all(-1)
    assert bool(copies.any(1).all())
    train_a_little(backbone)
    assert not bool((new[:, None] == own[None]).all(-1).any())
    assert float(layer.changes["default"].c_proj.weight.detach().abs().min()) > 0


def test_what_it_refuses() -> None:
    for wrong in ({"units": 0}, {"towers": "left"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Wider(**wrong)  # type: ignore[arg-type]
    backbone = tiny_backbone()
    attached(Wider(units=1), backbone)
    with pytest.raises(UserError, match="cannot be merged"):
        Wider(units=1).merge(backbone)
    with pytest.raises(UserError, match="of another kind"):
        Deeper().attach(backbone, "other")
