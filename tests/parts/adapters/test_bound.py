"""Bound spaces by hand: the mixture of an input, and which space finds a text's picture."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.errors import UserError
from clplat.models.backbone import Backbone
from clplat.models.features import TextFeatures
from clplat.models.other_inputs import fitted_ids, fitted_pixels
from clplat.parts.adapters.bound import Bound, _Space
from clplat.parts.composers.sum import Sum
from clplat.randomness import generator
from clplat.retriever import ComposedRetriever
from clplat.testing import tiny_backbone, tiny_collate, tiny_domains
from clplat.testing.towers import attached

BATCH = tiny_collate()(tiny_domains()[0].train[:5])
OTHER = Backbone.load("clplat-tiny")


def bound(**options: Any) -> tuple[ComposedRetriever, list[_Space]]:
    """A retriever whose projectors and routers are somewhere."""
    backbone, draw = tiny_backbone(), generator(0, "bound")
    attached(Bound(**options), backbone)
    spaces: Any = [backbone.readouts["default"][tower] for tower in ("image", "text")]
    with torch.no_grad():
        for space in spaces:
            for parameter in space.parameters():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=draw))
    return ComposedRetriever(backbone, Sum()).train(), spaces


def test_the_mixture_of_a_picture_and_of_a_text() -> None:
    model, spaces = bound()
    pixels, ids = BATCH.pictures.pixels, BATCH.texts.ids
    bare = tiny_backbone()
    with torch.no_grad():
        own = [bare.image(pixels).pooled.double(), bare.text(ids).pooled.double()]
        other = [OTHER.image(fitted_pixels(pixels, OTHER)).pooled.double()]
        other.append(OTHER.text(fitted_ids(ids, BATCH.texts.lengths, OTHER)).pooled.double())
        found = [model.image_features(BATCH.pictures).pooled, model.text_features(BATCH.texts).pooled]
    for tower, (space, f, g, made) in enumerate(zip(spaces, own, other, found, strict=True)):
        for i in range(len(f)):
            units = [f[i] / f[i].norm(), g[i] / g[i].norm()]
            weight, bias = (p.detach().double() for p in space.router.parameters())
            raw = weight @ torch.cat(units) + bias
            r = [(10.0 if tower else 1.0) / (1 + math.exp(-float(x))) for x in raw]
            w = [math.exp(x) / sum(map(math.exp, r)) for x in r]
            mixed = w[0] * units[0] + w[1] * (space.project[0].weight.double() @ units[1])
            wanted = normalize(mixed.detach(), dim=-1)
            assert torch.allclose(normalize(made[i].double(), dim=-1), wanted, atol=1e-4), tower


def test_texts_learn_which_space_finds_their_pictures() -> None:
    model, (_, said) = bound(decoupling=0.5, temperature=0.2)
    outputs = model(BATCH)
    bare, count = tiny_backbone(), len(BATCH)
    with torch.no_grad():
        ids = fitted_ids(BATCH.texts.ids, BATCH.texts.lengths, OTHER)
        texts = [bare.text(BATCH.texts.ids).pooled, OTHER.text(ids).pooled]
        targets = BATCH.pictures.pixels[count:]
        pictures = [bare.image(targets).pooled, OTHER.image(fitted_pixels(targets, OTHER)).pooled]
    spaces = [
        (normalize(t.double(), dim=-1) @ normalize(p.double(), dim=-1).T / 0.2).log_softmax(1).diagonal()
        for t, p in zip(texts, pictures, strict=True)
    ]
    target = torch.stack(spaces).softmax(0)
    last = said.last(count)
    assert last is not None
    log_p = last[1].double().log_softmax(1)
    expected = -0.5 * float((target.T * log_p).sum(1).mean().detach())
    assert float(outputs.terms["decoupling"].detach()) == pytest.approx(expected, rel=1e-3)
    outputs.terms["decoupling"].backward()  # type: ignore[no-untyped-call]
    assert said.router.weight.grad is not None and bool(said.router.weight.grad.abs().sum() > 0)


def test_the_own_towers_are_kept_and_the_other_model_is_no_part_of_what_is_saved() -> None:
    model, _ = bound()
    with torch.no_grad():
        plain = model.image_features(BATCH.pictures).pooled
        model.cache = cache = FeatureCache(model.backbone, Store(None))
        found = [model.image_features(BATCH.pictures).pooled for _ in range(2)]
    assert torch.allclose(found[1], plain, atol=1e-5)
    assert cache.counts["image"].live == 0 and cache.counts["image"].encoded == len({*BATCH.pictures.names})
    held = sum(tensor.numel() for tensor in model.backbone.adapter_state("default").values())
    assert held < 20_000 < sum(p.numel() for p in OTHER.parameters())


def test_what_the_routers_decide_can_be_watched() -> None:
    model, _ = bound()
    with torch.no_grad(), model.backbone.adapters.watched() as seen:
        model.backbone.image(BATCH.pictures.pixels)
        model.backbone.text(BATCH.texts.ids)
    assert [tuple(gates.shape) for _, gates in seen] == [(10, 2), (5, 2)]
    assert torch.allclose(seen[0][1].sum(1), torch.ones(10))


def test_what_does_not_fit_is_said() -> None:
    with pytest.raises(ValueError, match="1 models cannot have 2 weights"):
        Bound(pretrained=["a", "b"])
    _, (_, said) = bound()
    with pytest.raises(UserError, match="takes texts, not embeddings"):
        said._one(OTHER, TextFeatures(pooled=torch.zeros(1, 24)))


def test_pixels_that_are_normalised_for_one_model_are_refused() -> None:
    with pytest.raises(UserError, match=r"normalised for one model: two models need torch\.uint8"):
        fitted_pixels(torch.zeros(1, 3, 16, 16), OTHER)
