"""SSF: what it makes of every operation, by hand, and merged."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.mechanisms.growth import grown_layers
from clplat.parts.adapters.ssf import SSF, ScaleShift
from clplat.randomness import generator
from clplat.testing import tiny_backbone
from clplat.testing.towers import attached, embeddings, train_a_little


def test_every_operation_is_scaled_and_shifted_and_becomes_its_layer() -> None:
    backbone: Any = tiny_backbone().double()
    attached(SSF(), backbone)
    draw, layers = generator(0, "ssf"), grown_layers(backbone)
    assert len(layers) == 2 * (2 * 8 + 1)
    expected = {}
    for path, layer in layers.items():
        change: Any = layer.changes["default"]
        for parameter in change.parameters():
            parameter.data += torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
        x = torch.randn(3, layer.base_layer.weight.shape[-1], generator=draw, dtype=torch.float64)
        by_hand = torch.stack([change.scale * row + change.shift for row in layer.base_layer(x)])
        torch.testing.assert_close(layer(x), by_hand)
        expected[path] = x, by_hand
    trained = embeddings(backbone)
    SSF().merge(backbone)
    assert not grown_layers(backbone) and not backbone.adapters.installed
    for path, (x, by_hand) in expected.items():
        torch.testing.assert_close(backbone.model.get_submodule(path)(x), by_hand)
    for tower, rows in embeddings(backbone).items():
        torch.testing.assert_close(rows, trained[tower])


def test_one_of_two_is_merged_and_the_base_cannot_be_moved_below_it() -> None:
    backbone = tiny_backbone()
    attached(SSF(), backbone, "first")
    train_a_little(backbone)
    first = embeddings(backbone)
    attached(SSF("image"), backbone, "second")
    train_a_little(backbone)
    with pytest.raises(UserError, match="'ssf' is no sum with the base weights"):
        SSF().absorb(backbone, {})
    SSF().activate(backbone, "first")
    SSF().merge(backbone)
    for tower, rows in embeddings(backbone).items():
        torch.testing.assert_close(rows, first[tower], rtol=0, atol=1e-5)


def test_a_fresh_one_is_none_and_what_it_refuses() -> None:
    layer = torch.nn.Linear(3, 2)
    x = torch.ones(1, 3)
    out = layer(x)
    assert torch.equal(ScaleShift(layer).fresh(layer).after(x, out), out)
    with pytest.raises(ValueError, match="towers"):
        SSF("left")  # type: ignore[arg-type]
