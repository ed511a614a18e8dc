"""Deeper towers: identity and stacked copies by hand, gradients at the first step, the price of depth."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.flops import FlopCount
from clplat.models.features import WANTS
from clplat.parts.adapters.deeper import Deeper
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains
from clplat.testing.towers import attached, distance, embeddings, train_a_little


def pixels() -> torch.Tensor:
    return tiny_collate()(tiny_domains()[0].train[:4]).reference


def test_copies_stand_behind_the_blocks_in_their_order() -> None:
    """G_stack: of blocks 0 and 1 it makes 0, 1, 0, 1."""
    plain: Any = tiny_backbone()
    deep = tiny_backbone()
    attached(Deeper(start="copy", towers="image"), deep)
    hidden = plain.image(pixels(), WANTS).hidden[-1]
    for block in plain.model.visual.transformer.resblocks:
        hidden = block(hidden)
    torch.testing.assert_close(deep.image(pixels(), WANTS).hidden[-1], hidden)
    assert len(deep.image(pixels(), WANTS).hidden) == 4 == deep.image_layers and deep.text_layers == 2
    assert not Deeper(start="copy").identity_at_init and Deeper().identity_at_init


def test_an_identity_learns_from_the_first_step() -> None:
    """What writes into the stream has a gradient at once: not zero times zero, as zeroed attention has."""
    backbone = tiny_backbone()
    names = attached(Deeper(), backbone)
    reached = train_a_little(backbone, steps=1)
    writing = {name for name in names if "out_proj" in name or "c_proj" in name}
    assert writing <= reached and len(writing) == 16


def test_without_it_the_model_is_the_one_that_it_grew_from() -> None:
    backbone, plain = tiny_backbone(), tiny_backbone()
    attached(Deeper(start="copy"), backbone)
    assert distance(embeddings(backbone), embeddings(plain)) > 1e-3
    Deeper().activate(backbone, None)
    assert distance(embeddings(backbone), embeddings(plain)) == 0 and backbone.image_layers == 2


def test_twice_the_blocks_cost_twice_the_blocks() -> None:
    """So that a run of half the steps is one of equal cost."""
    costs = []
    for factor in (1, 2, 3):
        backbone = tiny_backbone()
        if factor > 1:
            attached(Deeper(factor=factor, towers="image"), backbone)
        with FlopCount() as flops, torch.no_grad():
            backbone.image(pixels(), WANTS)
        costs.append(flops.total)
    assert costs[2] - costs[1] == costs[1] - costs[0] > 0.3 * costs[0]


def test_the_base_may_be_trained_too() -> None:
    backbone = tiny_backbone()
    names = attached(Deeper(towers="text", base=True), backbone)
    assert "model.transformer.resblocks.0.ln_1.weight" in names
    assert "model.transformer.resblocks.2.blocks.default.ln_1.weight" in names
    with pytest.raises(UserError, match="no bare base"):
        Deeper(base=True).activate(backbone, None)


@pytest.mark.parametrize("options", [{"factor": 1}, {"start": "zero"}, {"towers": "all"}])
def test_what_it_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"at least 2|allowed"):
        Deeper(**options)
