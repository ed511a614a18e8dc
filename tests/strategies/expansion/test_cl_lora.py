"""CL-LoRA: what is shared, what is a domain's, and the two terms by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.mechanisms.growth import GrowthState
from clplat.mechanisms.low_rank import low_rank_layers
from clplat.mechanisms.routing import Routing
from clplat.parts.adapters._growing import Growing
from clplat.parts.composers.sum import Sum
from clplat.retriever import ComposedRetriever
from clplat.testing import plain_loop, tiny_collate, tiny_domains, tiny_learner, tiny_retriever
from clplat.testing.checks import trainable, weights
from strategies import CLLoRA

SMALL = Growing(r=2, alpha=2.0, targets=["v_proj"], towers="image")
LOWER, UPPER = (f"visual.transformer.resblocks.{i}.attn.v_proj" for i in (0, 1))


def trained(count: int = 2) -> tuple[CLLoRA, ComposedRetriever]:
    strategy, model = CLLoRA(lora=SMALL, routing=Routing(inside=None)), tiny_retriever(composer=Sum())
    plain_loop(strategy, model, tiny_domains(3)[:count], steps=3)
    return strategy, model


def test_the_shared_a_stays_its_b_goes_on_and_domains_have_their_own() -> None:
    strategy, model = trained(1)
    before = weights(model)
    assert sorted(name.rpartition("changes.")[2] for name in trainable(model)) == [
        "domain0.down",
        "domain0.magnitude",
        "domain0.up",
        "shared.up",
    ]
    layers = low_rank_layers(model.backbone)
    shared: Any = layers[LOWER].changes["shared"]
    assert torch.allclose(shared.down @ shared.down.T, torch.eye(2), atol=1e-5)
    plain_loop(strategy, model, tiny_domains()[1:], steps=3)
    after = weights(model)
    stays = [name for name in before if ".domain0." in name or "shared.down" in name]
    assert len(stays) == 4 and all(torch.equal(before[name], after[name]) for name in stays)
    (moved,) = [name for name in before if "shared.up" in name]
    assert not torch.equal(before[moved], after[moved])
    copied: Any = layers[LOWER].changes["before"]
    assert torch.equal(copied.up, before[moved]), "the copy is of the end of the domain before"


def test_a_new_domain_begins_where_the_shared_blocks_are() -> None:
    strategy, model = trained(1)
    pixels = torch.arange(2 * 3 * 16 * 16).reshape(2, 3, 16, 16).remainder(251).to(torch.uint8)
    state = model.backbone.adapters
    assert isinstance(state, GrowthState) and state.used == ("shared", "domain0")
    state.use(["shared"])
    before = model.backbone.image(pixels).pooled
    learner: Any = tiny_learner(model)
    strategy.before_experience(learner, type("Experience", (), {"dataset": tiny_domains()[1].train}))
    assert state.used == ("shared", "domain1")
    assert torch.equal(model.backbone.image(pixels).pooled, before)


def test_the_terms_and_the_gradient_of_the_shared_rows() -> None:
    strategy, model = trained(2)
    batch = tiny_collate()(tiny_domains()[1].train[:6])
    layers, state = low_rank_layers(model.backbone), model.backbone.adapters
    shared, before = (layers[LOWER].changes[name] for name in ("shared", "before"))
    with torch.no_grad():
        shared.up.add_(torch.linspace(-1.0, 1.0, 64).view(32, 2))
    terms = strategy.loss(tiny_learner(model), batch, model(batch))
    assert isinstance(state, GrowthState)
    tokens = []
    for name in ("shared", "before"):
        state.use([name])
        tokens.append(normalize(model.backbone.image_bottom(batch.pictures.pixels, 1)[:, 0].double(), dim=1))
    plain = 5.0 * (1 - (tokens[0] * tokens[1].detach()).sum(1).mean())
    assert float(terms["distill"].detach()) == pytest.approx(float(plain.detach()), rel=1e-3)
    (gradient,) = torch.autograd.grad(terms["distill"], [shared.up], retain_graph=True)
    (ungained,) = torch.autograd.grad(plain, [shared.up])
    lengths = before.up.detach().norm(dim=1, keepdim=True)
    assert torch.allclose(gradient, lengths / lengths.mean() * ungained, rtol=1e-2, atol=1e-6)
    first, second = (layers[UPPER].changes[name].magnitude for name in ("domain0", "domain1"))
    cosine = abs(float(torch.sign(first * second)))  # one layer: one number for each domain
    assert float(terms["orthogonality"].detach()) == pytest.approx(1e-4 * cosine)
    assert state.used == ("before",) and shared.gains is None


def test_a_picture_goes_through_the_shared_and_its_domains_lora() -> None:
    strategy, model = trained(2)
    model.eval()
    pixels = tiny_collate()(tiny_domains()[0].train[:4]).reference
    with torch.no_grad():
        chosen = model.encode_images(pixels)
        strategy.experts.expert.activate(model.backbone, "domain0")
        own = normalize(model.backbone.image(pixels).pooled, dim=1)
    assert torch.allclose(chosen, own, atol=1e-5)
    for wrong in ({"distill": -1.0}, {"orthogonality": -1.0}, {"lora": Growing()}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CLLoRA(**wrong)  # type: ignore[arg-type]
