"""SD-LoRA: directions stay, magnitudes move, and a new domain begins where the last one ended."""

from __future__ import annotations

import pytest
import torch

from clplat.mechanisms.low_rank import low_rank_layers
from clplat.parts.adapters._growing import Growing
from clplat.parts.composers.sum import Sum
from clplat.randomness import generator
from clplat.testing import plain_loop, tiny_domains, tiny_learner, tiny_retriever
from clplat.testing.checks import trainable, weights
from strategies import SDLoRA

SMALL = Growing(r=2, targets=["q_proj"], towers="image", last=1)


def test_directions_of_earlier_domains_stay_and_their_magnitudes_move() -> None:
    strategy, model = SDLoRA(lora=SMALL), tiny_retriever(composer=Sum())
    plain_loop(strategy, model, tiny_domains()[:1], steps=3)
    (layer,) = low_rank_layers(model.backbone).values()
    first = layer.newest()
    direction = (first.up @ first.down).detach() / (first.up.norm() * first.down.norm()).detach()
    length, start = (first.up.norm() * first.down.norm()).detach(), float(first.magnitude)
    plain_loop(strategy, model, tiny_domains()[1:], steps=3)
    assert torch.allclose((first.up @ first.down).detach(), direction, atol=1e-6)
    assert sorted(name.rpartition("domain")[2] for name in trainable(model)) == [
        "0.magnitude",
        "1.down",
        "1.magnitude",
        "1.up",
    ]
    moved, before = float(first.magnitude), start * float(length)
    assert moved != before and moved == pytest.approx(before, rel=0.5)
    assert strategy.numbers() == {"magnitude 0": moved, "magnitude 1": float(layer.newest().magnitude)}
    x = torch.randn(4, 32, generator=generator(0, "x"))
    second = layer.newest()
    by_hand = layer.base_layer(x) + moved * x @ direction.T
    by_hand = by_hand + float(second.magnitude) * x @ (second.up @ second.down).T
    assert torch.allclose(layer(x), by_hand, atol=1e-5)


def test_nothing_changes_when_a_domain_begins() -> None:
    strategy, model = SDLoRA(magnitude=0.8, lora=SMALL), tiny_retriever(composer=Sum())
    plain_loop(strategy, model, tiny_domains()[:1], steps=3)
    pixels = torch.randint(256, (2, 3, 16, 16), generator=generator(0, "pixels"), dtype=torch.uint8)
    before = model.backbone.image(pixels).pooled
    strategy.before_experience(tiny_learner(model), None)
    assert torch.allclose(model.backbone.image(pixels).pooled, before, atol=1e-5)
    (layer,) = low_rank_layers(model.backbone).values()
    assert float(layer.newest().magnitude) == pytest.approx(0.8)
    assert len([name for name in weights(model) if ".changes." in name]) == 6
    with pytest.raises(ValueError, match="magnitude"):
        SDLoRA(magnitude=0.0)
