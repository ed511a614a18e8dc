"""LoRA per domain: one expert for each domain, chosen by the picture."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.parts.adapters.full import Full
from clplat.parts.composers.sum import Sum
from clplat.testing import TinyTowers, plain_loop, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.checks import trainable, weights
from clplat.testing.runs import finish, tiny_stream, tiny_trainer
from strategies import LoRAPerDomain


def pixels(domain: int) -> torch.Tensor:
    return tiny_collate()(tiny_domains()[domain].train[:6]).reference


def test_each_domain_grows_an_expert_and_leaves_the_ones_before() -> None:
    strategy, model = LoRAPerDomain(r=2), tiny_retriever(composer=Sum())
    base = {name: tensor.clone() for name, tensor in model.backbone.base_state().items()}
    trainer = tiny_trainer(strategy, model)
    trainer.train(tiny_stream()[:1], eval_streams=[])
    first = {name: tensor for name, tensor in weights(model).items() if ".domain0." in name}
    trainer.train(tiny_stream()[1:], eval_streams=[])
    after = weights(model)
    assert strategy.state_dict()["names"] == ["domain0", "domain1"] and first
    assert all(torch.equal(after[name], tensor) for name, tensor in first.items()), "the old expert moved"
    assert all(".domain1." in name for name in trainable(model)) and trainable(model)
    assert all(torch.equal(model.backbone.base_state()[name], tensor) for name, tensor in base.items())


def test_a_picture_goes_to_the_expert_of_its_domain_and_a_strange_one_to_the_base() -> None:
    strategy, model = LoRAPerDomain(r=2, quantile=1.0), tiny_retriever(composer=Sum())
    strange = torch.full((1, 3, 16, 16), 200, dtype=torch.uint8)  # no domain has a plain picture
    bare = normalize(model.backbone.image(strange).pooled, dim=1)
    finish(tiny_trainer(strategy, model))
    model.eval()
    with torch.no_grad():
        for domain in (0, 1):
            chosen = model.encode_images(pixels(domain))
            strategy.adapter.activate(model.backbone, f"domain{domain}")
            own = normalize(model.backbone.image(pixels(domain)).pooled, dim=1)
            strategy.adapter.activate(model.backbone, f"domain{1 - domain}")
            other = normalize(model.backbone.image(pixels(domain)).pooled, dim=1)
            assert torch.allclose(chosen, own, atol=1e-6) and not torch.allclose(chosen, other, atol=1e-6)
        assert torch.allclose(model.encode_images(strange), bare, atol=1e-6)


def test_what_it_cannot_be_combined_with_is_reported() -> None:
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        plain_loop(LoRAPerDomain(), TinyTowers())
    with pytest.raises(UserError, match="brings its own adapters: use it with --adapter none"):
        plain_loop(LoRAPerDomain(), tiny_retriever(Full()))
    for settings in ({"r": 0}, {"prototypes": 0}, {"quantile": 0.0}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            LoRAPerDomain(**settings)
