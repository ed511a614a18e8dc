"""What every registered composer keeps to, beside its contract."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from clplat import registry
from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.config.raw import unflatten
from clplat.config.resolve import resolve, spaces
from clplat.config.space import Choice
from clplat.models.view import Towers
from clplat.parts.composers._base import Composer
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.composers import objectives

WIDTH = tiny_backbone().embed_dim


every_composer = pytest.mark.parametrize("name", registry.names("composers"))


def built(name):
    composer = registry.load("composers", name)()
    torch.manual_seed(0)
    composer.attach(Towers(tiny_backbone()))
    return composer.eval()


@every_composer
def test_returns_finite_rows_of_the_joint_space(features, name):
    composer = built(name)
    assert isinstance(composer, Composer)
    query = composer(*features())
    assert query.shape == (5, WIDTH) and query.dtype == torch.float32
    assert torch.isfinite(query).all()
    assert composer(*features(rows=1)).shape == (1, WIDTH)


@every_composer
def test_rows_do_not_depend_on_each_other(features, name):
    composer, (image, text) = built(name), features()
    whole = composer(image, text)
    alone = composer(image.part([2]), text.part([2]))
    assert torch.allclose(whole[2:3], alone, atol=1e-5)


@every_composer
def test_same_seed_same_composer_and_the_state_moves(features, name):
    composer, twin = built(name), built(name)
    assert torch.equal(composer(*features()), twin(*features()))
    with torch.no_grad():
        for parameter in composer.parameters():
            parameter.add_(0.01)
    twin.load_state_dict(composer.state_dict())
    assert torch.equal(composer(*features()), twin(*features()))


@every_composer
def test_reads_what_it_says(features, name):
    composer, (image, text) = built(name), features()
    image.pooled.requires_grad_()
    text.pooled.requires_grad_()
    query = composer(image, text)
    if query.requires_grad:  # it reads pooled features, or trains
        query.square().mul(torch.arange(WIDTH)).sum().backward()
    for kind, pooled in (("image", image.pooled), ("text", text.pooled)):
        grad = pooled.grad
        if "pooled" in composer.wants.get(kind, ()):
            assert torch.isfinite(grad).all() and (grad.norm(dim=1) > 0).all()
        else:
            assert grad is None


@every_composer
def test_every_parameter_has_a_gradient_and_moves_after_one_step(features, name):
    """A zeroed output layer hides those behind it at the first step only."""
    composer = built(name).train()
    parameters = dict(composer.named_parameters())
    if not parameters:
        return
    goal = torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.SGD(composer.parameters(), lr=0.1)
    for step in range(2):
        optimizer.zero_grad()
        found = features(rows=64)
        pulled = (1 - (composer(*found) * normalize(goal, dim=1)).sum(1)).mean()
        (pulled + objectives(composer, *found)).backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parameters.values())
        if step == 1:
            assert [n for n, p in parameters.items() if p.grad.abs().max() == 0] == []
        optimizer.step()


@every_composer
def test_kept_features_compose_to_the_same_bits_as_when_they_were_computed(name):
    retriever = tiny_retriever(composer=registry.load("composers", name)()).eval()
    batch = tiny_collate()(tiny_domains()[0].train[:4])
    asked, held = batch.pictures.part(range(4)), batch.pictures.part(range(4, 8))
    with torch.inference_mode():
        live = retriever.encode_queries(asked, batch.texts), retriever.encode_images(held)
        retriever.cache = FeatureCache(retriever.backbone, Store(None))
        cold, warm = (
            (retriever.encode_queries(asked, batch.texts), retriever.encode_images(held)) for _ in range(2)
        )
    for one, two, three in zip(live, cold, warm, strict=True):
        assert torch.equal(two, three) and torch.allclose(one, two, atol=1e-5)


@every_composer
def test_the_search_space_can_be_built(name):
    for key, space in spaces(resolve({"composer": name})).items():
        for value in space.values if isinstance(space, Choice) else (space.low, space.high):
            if key.startswith("composer."):
                resolve(unflatten({"composer.name": name, key: value})).make("composer")


@every_composer
def test_what_it_learns_from_is_kept_as_what_it_reads(name):
    retriever = tiny_retriever(composer=registry.load("composers", name)()).train()
    if not retriever.learns_from:
        return
    retriever.backbone.requires_grad_(False).eval()
    batch, found = tiny_collate()(tiny_domains()[0].train[:4]), []
    for cache in (None, FeatureCache(retriever.backbone, Store(None))):
        retriever.cache = cache
        torch.manual_seed(0)
        found.append(retriever(batch).terms)
    assert found[0].keys() == found[1].keys() and found[0]
    for name in found[0]:
        torch.testing.assert_close(found[1][name], found[0][name], rtol=1e-4, atol=1e-5)
