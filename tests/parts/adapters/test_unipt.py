"""UniPT as a readout: its formula, and that nothing goes through a tower twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.data.collate import Collate
from clplat.data.images import PixelStore, Preprocess
from clplat.flops import FlopCount
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures
from clplat.parts.adapters.unipt import UniPT, _SideNetwork
from clplat.parts.composers.sum import Sum
from clplat.retriever import ComposedRetriever
from clplat.testing import tiny_backbone, tiny_domains, tiny_loss
from clplat.testing.towers import attached, embeddings


def test_the_formula_by_hand() -> None:
    """One sample of three layers, in float64 numpy."""
    torch.manual_seed(0)
    network = _SideNetwork(layers=3, width=4, rank=2, joint=3).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    states, pooled = torch.randn(1, 3, 4).double(), torch.randn(1, 3).double()
    w: Any = {name: p.detach().numpy() for name, p in network.named_parameters()}
    h = []
    for layer, x in enumerate(states[0].numpy()):
        y = w[f"down.{layer}.weight"] @ x + w[f"down.{layer}.bias"]
        y = (y - y.mean()) / np.sqrt(y.var() + 1e-5)
        h.append(w[f"norms.{layer}.weight"] * y + w[f"norms.{layer}.bias"])
    scores = np.array([w["gate.weight"][0] @ (h[-1] * one) for one in h])
    weights = np.exp(scores) / np.exp(scores).sum()
    mixed = sum(a * (1 + (h[-1] @ one > 0)) * one for a, one in zip(weights, h, strict=True))
    side = np.maximum(h[-1] + w["project.weight"] @ mixed + w["project.bias"], 0)
    expected = pooled[0].numpy() + w["up.weight"] @ side + w["up.bias"]
    found = network(ImageFeatures(pooled=pooled, states=states))[0].detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def retriever(backbone: Backbone) -> ComposedRetriever:
    attached(UniPT(rank=16), backbone)
    return ComposedRetriever(backbone, Sum()).train()


def test_a_training_step_costs_a_hundredth_and_no_picture_is_live() -> None:
    """Against the same step with the towers run, as with hooks inside them."""
    model = retriever(Backbone.load("clplat-tiny"))
    backbone = model.backbone
    collate = Collate(PixelStore(Preprocess(backbone.image_size)), backbone.tokenize)
    batch = collate(tiny_domains()[0].train[:8])
    spent, gradients = [], []
    for cache in (None, FeatureCache(backbone, Store(None))):
        model.cache = cache
        if cache is not None:
            model.prepare(batch.pictures, batch.texts)
            assert not model.reads_pixels
        model.zero_grad()
        with FlopCount() as count:
            tiny_loss(batch, model(batch)).backward()
        spent.append(count.total)
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        if cache is not None:
            report = cache.report()
            assert report["image"]["live"] == report["text"]["live"] == 0
            assert report["image"]["taps"].keys() == {"pooled", "states"}
    assert spent[0] >= 100 * spent[1], spent
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-4), name


def test_it_reads_texts_that_are_given_as_embeddings_and_other_features_stay() -> None:
    backbone = tiny_backbone()
    before = embeddings(backbone)
    attached(UniPT(rank=4, towers="text"), backbone)
    with torch.no_grad():
        for parameter in backbone.readouts.parameters():
            parameter.add_(0.1)
    after = embeddings(backbone)
    assert torch.equal(after["image"], before["image"]) and not torch.allclose(after["text"], before["text"])
    ids = backbone.tokenize(["a red shoe"])
    found = backbone.text_from_embeddings(backbone.embed_text(ids), backbone.text_ends(ids))
    torch.testing.assert_close(found.pooled, backbone.text(ids).pooled)
    tokens = backbone.text(ids, {"tokens", "pooled"})
    assert torch.equal(tokens.tokens, backbone.text(ids, {"tokens"}, raw=True).tokens)
