"""Routed experts: shares of several, any adapter, and the router's accuracy in the records of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.measures import MEASURES
from clplat.mechanisms.routing import Routing
from clplat.parts.adapters.full import Full
from clplat.parts.adapters.peft import LNTuning
from clplat.parts.composers.sum import Sum
from clplat.retriever import ComposedRetriever
from clplat.runs.experiment import run
from clplat.testing import StrategyContract, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.runs import finish, tiny_trainer
from clplat.tracking.metrics import row_metrics
from strategies import RoutedExperts


class TestRoutedExperts(StrategyContract):
    """With the best two of a trained selector, whose embeddings are averages."""

    def make(self) -> RoutedExperts:
        return RoutedExperts(LNTuning(), Routing(by="learned", top=2, inside=None))


def trained(strategy: RoutedExperts) -> ComposedRetriever:
    """On two domains, in evaluation mode."""
    model = tiny_retriever(composer=Sum())
    finish(tiny_trainer(strategy, model))
    return model.eval().requires_grad_(False)


def test_embeddings_are_averaged_by_the_shares_of_their_experts() -> None:
    strategy = RoutedExperts(routing=Routing(by="energy", top=0, temperature=0.5, inside=None))
    model, batch = trained(strategy), tiny_collate()(tiny_domains()[0].train[:5])
    images, queries = (
        model.encode_images(batch.reference),
        model.encode_queries(batch.reference, batch.tokens),
    )
    strategy.expert.activate(model.backbone, None)
    shares = strategy.router.weights(model.backbone.image(batch.reference).pooled)
    assert bool((shares > 0.05).all()), "both have a share"
    rows: dict[str, Tensor] = {"image": torch.zeros(5, 24), "query": torch.zeros(5, 24)}
    for e, name in enumerate(strategy.router.names):
        strategy.expert.activate(model.backbone, name)
        image, text = model.backbone.image(batch.reference).pooled, model.backbone.text(batch.tokens).pooled
        rows["image"] += shares[:, e, None] * normalize(image, dim=1)
        rows["query"] += shares[:, e, None] * normalize(model.composer(*_features(image, text)), dim=1)
    assert torch.allclose(images, normalize(rows["image"], dim=1), atol=1e-5)
    assert torch.allclose(queries, normalize(rows["query"], dim=1), atol=1e-5)
    alone = model.encode_images(batch.reference[:1])
    assert torch.allclose(alone, images[:1], atol=1e-5), "whoever is beside it"


def _features(image: Tensor, text: Tensor) -> Any:
    from clplat.models.features import ImageFeatures, TextFeatures

    return ImageFeatures(pooled=image), TextFeatures(pooled=text)


def test_no_more_than_the_best_k_run_however_many_experts_there_are() -> None:
    """The cost of a query is bounded: passes of the towers do not grow with the number of experts."""
    strategy = RoutedExperts(routing=Routing(by="learned", top=2, inside=None))
    model, batch = trained(strategy), tiny_collate()(tiny_domains()[0].train[:1])
    assert model.experts is not None
    used: list[str | None] = []

    def activate(backbone: Any, name: str | None) -> None:
        used.append(name)
        strategy.expert.activate(backbone, name)

    model.experts.activate = activate
    for grown in range(4):  # described alike, so that only their number differs
        rows = torch.randn(6, 24, generator=torch.Generator().manual_seed(grown))
        strategy.router.add(f"more{grown}", rows)
        strategy.expert.attach(model.backbone, f"more{grown}")
        used.clear()
        model.encode_queries(batch.reference, batch.tokens)
        assert len(used) == 3, "the router's look at the bare base, and two experts"


def test_router_accuracy_is_in_the_records_and_the_domain_never_reaches_the_router(tmp_path: Path) -> None:
    small = {
        "scenario": {
            "name": "catalogue",
            "domains": 2,
            "train": 32,
            "queries": 20,
            "gallery": 20,
            "size": 16,
        },
        "train": {"epochs": 1, "batch_size": 32},
        "evaluation": {"anchors": 32},
    }
    result = run(
        {**small, "strategy": {"name": "routed_experts", "routing": {"by": "key"}}}, tmp_path / "run"
    )
    found = result["probes"]["routing"]["accuracy"]
    assert found[0] is None and all(0 <= value <= 100 for value in found[1:])
    assert MEASURES["router_accuracy"].value(result) == found[-1]
    logged = row_metrics(result, 2)
    assert logged["cl/routed"] == logged["probe/routing.accuracy"] == pytest.approx(found[-1], abs=1e-4)
    assert result["probes_about"]["routing"]["headline"] == "accuracy"


def test_an_adapter_that_trains_the_base_is_no_expert() -> None:
    with pytest.raises(ValueError, match="Full trains the base, which all experts share"):
        RoutedExperts(Full())
