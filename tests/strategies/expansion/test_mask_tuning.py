"""R-AMT: straight through, chosen by gradient, dropped where zero-shot disagrees, a bit at rest."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from clplat.mechanisms.growth import grown_layers
from clplat.mechanisms.weight_changes import Mask
from clplat.parts.adapters.peft import LoRA
from clplat.parts.composers.sum import Sum
from clplat.randomness import generator
from clplat.testing import tiny_retriever
from clplat.testing.runs import tiny_stream, tiny_trainer
from strategies import MaskTuning
from strategies.expansion.mask_tuning import dropped


def test_the_gradient_goes_straight_to_the_scores_that_may_move() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3)
    mask = Mask(layer)
    assert mask.scores is not None
    mask.scores.data[1, 2] = -0.01
    may = torch.ones(3, 4, dtype=torch.bool)
    may[0] = False
    mask.choose(may)
    weight = layer.weight.detach()
    by_hand = weight.clone()
    by_hand[1, 2] = 0.0
    torch.testing.assert_close(mask.of(weight).detach(), by_hand)
    slope = torch.randn(3, 4, generator=generator(0, "slope"))
    (mask.of(weight) * slope).sum().backward()
    torch.testing.assert_close(mask.scores.grad, slope * weight * may)
    mask.close()
    torch.testing.assert_close(mask.of(weight), by_hand)
    assert mask.bits.dtype == torch.uint8 and mask.bits.shape == (3, 1)
    assert [*dict(mask.named_buffers())] == ["bits"] and not [*mask.parameters()]


def test_gradient_dropout_is_as_by_hand() -> None:
    draw = generator(0, "dropout")
    a, b, u = torch.randn(50, generator=draw), torch.randn(50, generator=draw), torch.rand(50, generator=draw)
    for share in (1.0, 0.3):
        found = dropped(a, b, u, share)
        for ai, bi, ui, gi in zip(a.tolist(), b.tolist(), u.tolist(), found.tolist(), strict=True):
            sign = 1 if ai > 0 else -1
            agree = (1 + sign * (ai + bi) / (abs(ai) + abs(bi))) / 2
            assert gi == pytest.approx(ai if agree > ui else (1 - share) * ai, abs=1e-6)
    assert torch.equal(dropped(a, a, u, 1.0), a), "where both agree nothing is dropped"
    assert torch.equal(dropped(torch.zeros(2), torch.zeros(2), u[:2], 1.0), torch.zeros(2))


def test_weights_stay_masks_of_domains_are_intersected_and_only_the_chosen_move() -> None:
    strategy, model = MaskTuning(share=0.2, towers="image", last=1, seed=0), tiny_retriever(None, Sum())
    base = {name: tensor.clone() for name, tensor in model.backbone.base_state().items()}
    trainer, stream = tiny_trainer(strategy, model), tiny_stream()
    trainer.train(stream[0], eval_streams=[])
    trainer.train(stream[1], eval_streams=[])
    assert all(torch.equal(tensor, base[name]) for name, tensor in model.backbone.base_state().items())
    layers: Any = grown_layers(model.backbone)
    kept = [
        torch.cat([layer.used()[domain].kept().flatten() for layer in layers.values()]) for domain in (0, 1)
    ]
    said = strategy.numbers()
    for domain in (0, 1):
        left_out = float((kept[domain] == 0).float().mean())
        assert said[f"masked {domain}"] == pytest.approx(left_out) and 0 <= left_out <= 0.2 + 1e-3
    assert (
        said["masked"] == pytest.approx(float((kept[0] * kept[1] == 0).float().mean())) and said["masked"] > 0
    )
    x = torch.randn(2, 32, generator=generator(0, "x"))
    for layer in layers.values():
        one, two = layer.used()
        weight = layer.base_layer.weight * one.kept() * two.kept()
        torch.testing.assert_close(layer(x), x @ weight.T + layer.base_layer.bias)
    assert not [name for name, _ in model.named_parameters() if name.endswith("scores")], (
        "bits are all that stays"
    )


def test_decay_leaves_nothing_out() -> None:
    mask = Mask(nn.Linear(4, 3))
    assert mask.scores is not None
    optimizer = torch.optim.AdamW([mask.scores], lr=0.1, weight_decay=1.0)
    for _ in range(50):
        mask.scores.grad = torch.zeros(3, 4)
        optimizer.step()
    assert mask.kept().all()


def test_adapters_of_others_and_wrong_options_are_refused() -> None:
    for wrong in ({"share": 0.0}, {"dropout": 2.0}, {"start": 0.001}, {"examples": 0}):
        with pytest.raises(ValueError):
            MaskTuning(**wrong)  # type: ignore[arg-type]
    trainer = tiny_trainer(MaskTuning(), tiny_retriever(LoRA(r=1), Sum()))
    with pytest.raises(Exception, match="brings its own adapters"):
        trainer.train(tiny_stream()[0], eval_streams=[])
