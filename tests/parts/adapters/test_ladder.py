"""The ladder by hand, and that what side networks read is kept: a step runs no tower."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.cache.engine import FeatureCache
from clplat.cache.store import Store
from clplat.data.collate import Collate
from clplat.data.images import PixelStore, Preprocess
from clplat.errors import UserError
from clplat.flops import FlopCount
from clplat.mechanisms.side_networks import Residual
from clplat.models.backbone import Backbone
from clplat.models.features import ImageFeatures
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters.ladder import Ladder, _Ladder
from clplat.parts.adapters.primitives import Primitives
from clplat.parts.adapters.trained_pooling import TrainedPooling
from clplat.parts.adapters.unipt import UniPT
from clplat.parts.adapters.universal import Universal
from clplat.parts.composers._base import Composer
from clplat.parts.composers.coarse_to_fine import CoarseToFine
from clplat.parts.composers.joint_query import JointQuery
from clplat.parts.composers.sum import Sum
from clplat.randomness import generator, seeded
from clplat.retriever import ComposedRetriever
from clplat.testing import tiny_backbone, tiny_domains, tiny_loss
from clplat.testing.towers import attached


@pytest.mark.parametrize("order", ["up", "down"])
def test_the_formula_by_hand(order: Any) -> None:
    """Of every second of four layers, the last among them."""
    network: Any = _Ladder(Ladder(rank=3, every=2, order=order, temperature=0.5), 4, 5, 6).double()
    draw = generator(0, "ladder")
    for parameter in network.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw, dtype=torch.float64)
    states = torch.randn(2, 4, 5, generator=draw, dtype=torch.float64)
    pooled = torch.randn(2, 6, generator=draw, dtype=torch.float64)
    z = [
        states[:, layer] @ network.down[i].weight.T
        for i, layer in enumerate((1, 3) if order == "up" else (3, 1))
    ]
    first, second = network.steps.blocks
    h = first(z[0])
    g = torch.sigmoid(network.steps.weights[0] / 0.5)
    h = second(g * h + (1 - g) * z[1])
    expected = pooled + h @ network.up.weight.T
    assert isinstance(first, Residual)
    torch.testing.assert_close(network(ImageFeatures(pooled=pooled, states=states)), expected)


KEPT: list[tuple[Adapter | None, Composer]] = [
    (Ladder(rank=16), Sum()),
    (UniPT(rank=16), Sum()),
    (TrainedPooling("layers", rank=16), Sum()),
    (TrainedPooling("attention", rank=16), Sum()),
    (Primitives(rank=16), Sum()),
    (Universal(rank=16), Sum()),
    (None, CoarseToFine(width=16)),
    (None, JointQuery(width=16)),
]


@pytest.mark.parametrize("which", range(len(KEPT)))
def test_a_training_step_runs_no_tower(which: int) -> None:
    """Against the same step without what is kept: a tenth of its operations at most, equal gradients."""
    adapter, composer = KEPT[which]
    backbone = Backbone.load("clplat-tiny")
    if adapter is not None:
        attached(adapter, backbone)
    with seeded(0, "kept"):
        model = ComposedRetriever(backbone, composer).train()
    for module in model.modules():  # what is drawn in training differs between passes
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(module, torch.nn.MultiheadAttention):
            module.dropout = 0.0
    collate = Collate(PixelStore(Preprocess(backbone.image_size)), backbone.tokenize)
    batch = collate(tiny_domains()[0].train[:8])
    spent, gradients = [], []
    for cache in (None, FeatureCache(backbone, Store(None))):
        model.cache = cache
        if cache is not None:
            model.prepare(batch.pictures, batch.texts)
            assert not model.reads_pixels
            model(batch)  # what of the towers is kept in the middle of a run is kept by now
        model.zero_grad()
        with FlopCount() as count:
            tiny_loss(batch, model(batch)).backward()
        spent.append(count.total)
        gradients.append({n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None})
        if cache is not None:
            report = cache.report()
            assert report["image"]["live"] == report["text"]["live"] == 0
    assert spent[0] >= 10 * spent[1], spent
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-4), name


def test_what_it_refuses() -> None:
    for wrong in (
        {"rank": 0},
        {"every": 0},
        {"last": 0},
        {"order": "left"},
        {"gate": "left"},
        {"towers": "left"},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Ladder(**wrong)
    backbone = tiny_backbone()
    attached(Ladder(rank=2), backbone)
    with pytest.raises(UserError, match="attached already"):
        UniPT().attach(backbone, "other")
