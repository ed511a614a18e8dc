"""Experts merged for a query: the weights by hand, and none of it left behind."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from clplat.mechanisms.merged_experts import changes_of, merged, mixes_of
from clplat.mechanisms.routing import Routing
from clplat.parts.adapters.moe import MoEAdapter
from clplat.parts.adapters.peft import LoRA
from clplat.parts.composers.sum import Sum
from clplat.testing import plain_loop, tiny_collate, tiny_domains, tiny_retriever
from strategies import RoutedExperts


def test_shares_are_rounded_to_tenths_and_sum_to_one() -> None:
    shares = torch.tensor([[0.33, 0.33, 0.34], [0.0, 0.0, 0.0], [0.96, 0.04, 0.0], [0.04, 0.96, 0.0]])
    mixes, place = mixes_of(shares)
    assert torch.allclose(mixes[place].sum(1), torch.tensor([1.0, 0.0, 1.0, 1.0]))
    assert torch.allclose(mixes[place[0]], torch.full((3,), 1 / 3))
    assert mixes[place[2]].tolist() == [1.0, 0.0, 0.0] and len(mixes) == 4
    many = torch.full((1, 40), 1 / 40)
    assert torch.allclose(mixes_of(many)[0], many)


def test_a_picture_goes_through_the_mean_of_its_experts_weights() -> None:
    lora = LoRA(r=2, targets="mlp", towers="both", last=1)
    routing = Routing(by="energy", top=0, temperature=0.5, inside=None)
    strategy = RoutedExperts(lora, routing, average="weights")
    model = tiny_retriever(composer=Sum())
    plain_loop(strategy, model, steps=3, lr=1.0)
    model.eval().requires_grad_(False)
    batch = tiny_collate()(tiny_domains()[0].train[:5])
    backbone, activate, names = model.backbone, strategy.expert.activate, strategy.router.names
    base = {name: tensor.clone() for name, tensor in backbone.base_state().items()}
    versions = {name: p._version for name, p in backbone.model.named_parameters()}
    images = model.encode_images(batch.reference)
    queries = model.encode_queries(batch.reference, batch.tokens)
    assert all(torch.equal(base[name], tensor) for name, tensor in backbone.base_state().items())
    assert versions == {name: p._version for name, p in backbone.model.named_parameters()}

    activate(backbone, None)
    mixes, place = mixes_of(strategy.router.weights(backbone.image(batch.reference).pooled))
    changes = changes_of(backbone, activate, names)
    assert len(mixes) < 5 and bool((mixes > 0).all()), "both have a share, and pictures have the same"
    for i, mix in enumerate(mixes[place].tolist()):
        for name, parameter in backbone.model.named_parameters():
            own = backbone.adapters.base_key(name)
            if own in changes[0]:
                parameter.data.copy_(base[own] + mix[0] * changes[0][own] + mix[1] * changes[1][own])
        shown, said = (
            backbone.image(batch.reference[i : i + 1]).pooled,
            backbone.text(batch.tokens[i : i + 1]),
        )
        assert torch.allclose(images[i], normalize(shown, dim=1)[0], atol=1e-5)
        query = normalize(model.composer(shown, said.pooled), dim=1)[0]
        assert torch.allclose(queries[i], query, atol=1e-5)
    bare = normalize(tiny_retriever().backbone.image(batch.reference).pooled, dim=1)
    assert not torch.allclose(images, bare, atol=1e-3), "the experts have learnt something"


def test_what_was_there_comes_back_after_an_error() -> None:
    model = tiny_retriever(composer=Sum())
    before = {name: tensor.clone() for name, tensor in model.backbone.base_state().items()}
    name = "visual.transformer.resblocks.0.mlp.c_fc.weight"
    with pytest.raises(KeyError), merged(model.backbone, [{name: torch.ones_like(before[name])}], [0.5]):
        assert torch.allclose(model.backbone.base_state()[name], before[name] + 0.5)
        raise KeyError("any")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.backbone.base_state().items())
    with pytest.raises(ValueError, match="no weights that could be averaged"):
        RoutedExperts(MoEAdapter(), average="weights")
    with pytest.raises(ValueError, match="average is 'means'"):
        RoutedExperts(average="means")  # type: ignore[arg-type]
