"""OneEncoder: one projection of both towers, and domains that leave each other's outputs to the bit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.models.features import ImageFeatures
from clplat.parts.adapters.universal import Universal
from clplat.testing import tiny_backbone
from clplat.testing.towers import attached, distance, embeddings, train_a_little


def test_the_formula_by_hand_and_one_projection_for_both() -> None:
    backbone: Any = tiny_backbone()
    before = embeddings(backbone)
    attached(Universal(rank=4), backbone)
    assert distance(embeddings(backbone), before) == 0
    train_a_little(backbone)
    attached(Universal(rank=4), backbone, "second")
    train_a_little(backbone)
    first, second = (backbone.readouts[name]["image"].double() for name in ("default", "second"))
    assert first.shared is backbone.readouts["default"]["text"].shared
    f = torch.randn(2, 24, dtype=torch.float64)
    head, last, norm = first.head[0], first.head[2], first.head[3]
    h = torch.nn.functional.gelu(f @ head.weight.T + head.bias) @ last.weight.T + last.bias
    h = torch.nn.functional.layer_norm(h, (4,), norm.weight, norm.bias) + first.token
    up = first.shared.up
    expected = f + first.shared.blocks[0](h) @ up.weight.T + up.bias
    torch.testing.assert_close(first(ImageFeatures(pooled=f)), expected)
    h = h @ second.align.weight.T + second.align.bias
    expected = f + first.shared.blocks[0](h) @ up.weight.T + up.bias
    torch.testing.assert_close(second(ImageFeatures(pooled=f)), expected)


def test_a_further_domain_trains_an_alignment_alone_and_begins_as_the_first() -> None:
    backbone = tiny_backbone()
    attached(Universal(rank=4), backbone)
    train_a_little(backbone)
    first = embeddings(backbone)
    names = attached(Universal(rank=4), backbone, "second")
    assert distance(embeddings(backbone), first) == 0
    assert sum(backbone.get_parameter(name).numel() for name in names) == 2 * 4 * 5
    assert train_a_little(backbone) == set(names)
    second = embeddings(backbone)
    attached(Universal(rank=4), backbone, "third")
    train_a_little(backbone)
    for name, rows in (("default", first), ("second", second)):
        Universal(rank=4).activate(backbone, name)
        assert distance(embeddings(backbone), rows) == 0, "to the bit"


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="rank and depth"):
        Universal(rank=0)
