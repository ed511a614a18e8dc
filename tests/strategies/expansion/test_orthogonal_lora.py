"""Orthogonal LoRA: the penalty by hand, and earlier domains that stay."""

from __future__ import annotations

import pytest
import torch

from clplat.errors import UserError
from clplat.mechanisms.low_rank import low_rank_layers
from clplat.parts.adapters._growing import Growing
from clplat.parts.adapters.full import Full
from clplat.parts.composers.sum import Sum
from clplat.testing import plain_loop, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from clplat.testing.checks import trainable, weights
from strategies import OrthogonalLoRA

SMALL = Growing(r=2, targets=["v_proj"], last=1)


def test_the_penalty_is_the_sum_of_all_products_of_rows_old_and_new() -> None:
    strategy, model = OrthogonalLoRA(weight=0.25, lora=SMALL), tiny_retriever(composer=Sum())
    history = plain_loop(strategy, model, tiny_domains(3), steps=2)
    assert ["orthogonality" in terms for terms in history] == [False] * 2 + [True] * 4
    batch = tiny_collate()(tiny_domains()[0].train[:4])
    found = strategy.loss(tiny_learner(model), batch, model(batch))["orthogonality"]
    by_hand = 0.0
    for layer in low_rank_layers(model.backbone).values():
        first, second, third = (change.down.double() for change in layer.in_use())
        for earlier in (first, second):
            by_hand += sum(abs(float(row @ other)) for row in third for other in earlier)
    assert float(found.detach()) == pytest.approx(0.25 * by_hand, rel=1e-5)


def test_it_pulls_the_new_rows_away_from_the_old_ones_and_leaves_those() -> None:
    def overlap(weight: float) -> float:
        strategy, model = OrthogonalLoRA(weight=weight, lora=SMALL), tiny_retriever(composer=Sum())
        plain_loop(strategy, model, tiny_domains()[:1], steps=1)
        old = {name: tensor for name, tensor in weights(model).items() if ".domain0." in name}
        base = model.backbone.base_state()
        before = {name: tensor.clone() for name, tensor in base.items()}
        plain_loop(strategy, model, tiny_domains()[1:], steps=12, lr=0.02)
        assert old and all(torch.equal(weights(model)[name], tensor) for name, tensor in old.items())
        assert all(torch.equal(before[name], tensor) for name, tensor in model.backbone.base_state().items())
        assert all(".domain1." in name for name in trainable(model))
        layers = low_rank_layers(model.backbone).values()
        return sum(float((one.newest().down @ one.earlier()[0].down.T).abs().sum()) for one in layers)

    assert overlap(0.5) < 0.5 * overlap(0.0)


def test_what_it_cannot_be_combined_with_is_reported() -> None:
    with pytest.raises(UserError, match="brings its own adapters: use it with --adapter none"):
        plain_loop(OrthogonalLoRA(), tiny_retriever(Full()))
    with pytest.raises(ValueError, match="weight"):
        OrthogonalLoRA(weight=-1.0)
