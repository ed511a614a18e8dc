"""MoDE: experts by clusters of texts, scores weighed by a query's words, and what new experts leave alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.evaluation.routing import RoutingProbe
from clplat.mechanisms.routing import Routing
from clplat.parts.adapters.full import Full
from clplat.parts.adapters.peft import LNTuning
from clplat.parts.composers.sum import Sum
from clplat.testing import StrategyContract, tiny_collate, tiny_domains, tiny_retriever
from clplat.testing.checks import weights
from clplat.testing.runs import tiny_stream, tiny_trainer
from strategies import DataExperts

ROUTING = Routing(
    by="kernel", centres=3, distance="euclidean", spread=0.2, top=0, temperature=0.5, inside=None
)


class TestDataExperts(StrategyContract):
    def make(self) -> DataExperts:
        return DataExperts(2, LNTuning(), epochs=1)


class Noted(DataExperts):
    """Writes down, at each step, the phase, the examples, and who moved."""

    def __init__(self) -> None:
        super().__init__(2, LNTuning(), ROUTING, epochs=1)
        self.seen: list[tuple[str, list[str], set[str]]] = []

    def after_step(self, learner: Any, batch: Any, outputs: Any) -> None:
        moved = {name for name, p in learner.model.named_parameters() if p.grad is not None and p.grad.any()}
        self.seen.append((learner.progress.phase, [*batch.ids], moved))


@pytest.fixture(scope="module")
def trained() -> tuple[Noted, Any, dict[str, Any], list[Any]]:
    strategy, model = Noted(), tiny_retriever(composer=Sum())
    trainer = tiny_trainer(strategy, model)
    trainer.train(tiny_stream()[0], eval_streams=[])
    first = {name: tensor.clone() for name, tensor in weights(model).items() if ".domain0_" in name}
    centres = [expert["centres"].clone() for expert in strategy.router.experts]
    trainer.train(tiny_stream()[1], eval_streams=[])
    return strategy, model.eval().requires_grad_(False), first, centres


def test_each_phase_trains_one_expert_on_one_cluster(trained: Any) -> None:
    strategy, *_ = trained
    assert {phase for phase, *_ in strategy.seen} == {"expert 0", "expert 1"}
    for phase, _, moved in strategy.seen:
        assert moved and all(f"_{phase[-1]}." in name for name in moved)
    first = [(phase, set(ids)) for phase, ids, _ in strategy.seen[: len(strategy.seen) // 2]]
    clusters = [set().union(*(ids for phase, ids in first if phase == f"expert {e}")) for e in (0, 1)]
    assert not clusters[0] & clusters[1] and min(map(len, clusters)) >= 2


def test_a_new_expert_needs_no_retraining_of_the_others(trained: Any) -> None:
    strategy, model, first, centres = trained
    assert strategy.router.names == ["domain0_0", "domain0_1", "domain1_0", "domain1_1"]
    assert strategy.router.owners == [0, 0, 1, 1]
    now = weights(model)
    assert first and all(torch.equal(now[name], tensor) for name, tensor in first.items())
    for old, expert in zip(centres, strategy.router.experts, strict=False):
        assert torch.equal(old, expert["centres"])


def test_the_score_by_hand(trained: Any) -> None:
    """sum_e w_e(text) cos(q_e, g_e) up to a factor of the query's own, in float64."""
    strategy, model, *_ = trained
    batch = tiny_collate()(tiny_domains()[0].train[:5])
    found = model.encode_queries(batch.reference, batch.tokens) @ model.encode_images(batch.reference).T
    strategy.expert.activate(model.backbone, None)
    words = normalize(model.backbone.text(batch.tokens).pooled, dim=1).double()
    weights_: list[list[float]] = []
    for word in words:
        kernels = [
            sum(math.exp(-float((word - c).norm()) / 0.2) for c in expert["centres"].double())
            for expert in strategy.router.experts
        ]
        total = sum(math.exp(k / 0.5) for k in kernels)
        weights_.append([math.exp(k / 0.5) / total for k in kernels])
    expected = torch.zeros(5, 5, dtype=torch.float64)
    for e, name in enumerate(strategy.router.names):
        strategy.expert.activate(model.backbone, name)
        image, text = model.backbone.image(batch.reference), model.backbone.text(batch.tokens)
        query = normalize(model.composer(image, text), dim=1).double()
        cosines = query @ normalize(image.pooled, dim=1).double().T
        expected += torch.tensor([row[e] for row in weights_], dtype=torch.float64)[:, None] * cosines
    factor = 1 / (2 * torch.tensor(weights_).norm(dim=1, keepdim=True))  # of unit rows, four experts
    torch.testing.assert_close(found.double(), expected * factor.double(), atol=1e-5, rtol=1e-4)
    texts = model.encode_texts(batch.tokens)
    assert texts.shape == (5, 4 * 24) and torch.allclose(texts.norm(dim=1), torch.ones(5), atol=1e-5)


def test_experts_alone_their_mean_and_as_routed_stand_side_by_side(trained: Any) -> None:
    _, model, *_ = trained
    found = RoutingProbe().measure(_view(model))
    assert {"expert 0", "expert 3", "mean", "routed", "accuracy"} <= found.keys()
    assert all(0 <= found[name] <= 100 for name in ("expert 0", "mean", "routed", "accuracy"))


def _view(model: Any) -> Any:
    from clplat.data.images import PixelStore, Preprocess
    from clplat.evaluation.evaluator import Evaluator

    store = PixelStore(Preprocess(16))
    evaluator = Evaluator(
        tiny_domains(), (), split="test", pictures=store.images,
        tokenize=model.backbone.tokenize, composers={"own": model.composer},
    )  # fmt: skip
    row = evaluator.row(model, version=2)
    return evaluator.view(lambda: model, 2, lambda: row.galleries, row.queries)


def test_what_it_cannot_be_combined_with_is_reported() -> None:
    with pytest.raises(ValueError, match="clusters must be at least 1"):
        DataExperts(0)
    with pytest.raises(ValueError, match="Full trains the base"):
        DataExperts(1, Full())
    with pytest.raises(UserError, match="brings its own adapters"):
        tiny_trainer(DataExperts(1), tiny_retriever(Full())).train(tiny_stream()[0], eval_streams=[])
