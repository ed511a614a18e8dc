"""CLIP-MoE: what each phase trains, clusters within clusters, and batches of one cluster."""

from __future__ import annotations

from typing import Any

import pytest

from clplat.errors import UserError
from clplat.testing import StrategyContract, tiny_domains, tiny_retriever
from clplat.testing.runs import tiny_stream, tiny_trainer
from clplat.testing.towers import distance, embeddings
from clplat.training.phases import Phase
from strategies import MultipletUpcycling


class TestMultipletUpcycling(StrategyContract):
    def make(self) -> MultipletUpcycling:
        return MultipletUpcycling(2, k=1, towers="image", clusters=2, epochs=1, router_epochs=1)


class Noted(MultipletUpcycling):
    """Writes down, at each step, the phase, the clusters and who moved."""

    def __init__(self) -> None:
        super().__init__(experts=3, clusters=2, epochs=1, router_epochs=1)
        self.seen: list[tuple[str, list[int], list[str], set[str]]] = []

    def after_step(self, learner: Any, batch: Any, outputs: Any) -> None:
        moved = {name for name, p in learner.model.named_parameters() if p.grad is not None and p.grad.any()}
        self.seen.append((learner.progress.phase, [*self._labels], [*batch.ids], moved))


@pytest.fixture(scope="module")
def trained() -> tuple[Noted, Any]:
    strategy, model = Noted(), tiny_retriever(None)
    trainer = tiny_trainer(strategy, model)
    trainer.train(tiny_stream()[0], eval_streams=[])
    return strategy, trainer


def test_each_phase_trains_what_it_says(trained: tuple[Noted, Any]) -> None:
    for phase, _, _, moved in trained[0].seen:
        part = {"expert 1": (".each.1.",), "expert 2": (".each.2.",), "router": (".gate.", "composer.")}[
            phase
        ]
        assert moved and all(any(word in name for word in part) for name in moved), phase
    assert [*dict.fromkeys(seen[0] for seen in trained[0].seen)] == ["expert 1", "expert 2", "router"]


def test_balance_is_of_the_router_alone(trained: tuple[Noted, Any]) -> None:
    phases = [seen[0] for seen in trained[0].seen]
    has = ["balance" in terms for terms in trained[1].losses]
    assert has == [phase == "router" for phase in phases]


def test_clusters_are_refined_and_a_batch_holds_one_while_it_lasts(trained: tuple[Noted, Any]) -> None:
    ids = [example.id for example in tiny_domains()[0].train]
    labels = {phase: found for phase, found, _, _ in trained[0].seen}
    pairs = {(fine // 4, coarse) for fine, coarse in zip(labels["expert 2"], labels["expert 1"], strict=True)}
    assert all(fine == coarse for fine, coarse in pairs), "within the clusters of the stage before"
    for phase, found, batch, _ in trained[0].seen[:3]:
        own = sorted(found[ids.index(key)] for key in batch)
        assert phase == "expert 1" and len(batch) > 1
        assert len({*own}) == 1 or own == sorted(own)
    counts = [len({found[ids.index(key)] for key in batch}) for _, found, batch, _ in trained[0].seen[:3]]
    full = sum(labels["expert 1"].count(label) // 8 for label in {*labels["expert 1"]})
    assert counts.count(1) >= full


def test_the_first_expert_is_the_dense_model(trained: tuple[Noted, Any]) -> None:
    backbone, plain = trained[1].model.backbone, tiny_retriever(None).backbone
    mixed = embeddings(backbone)
    trained[0].adapter.use(backbone, 0)
    assert distance(embeddings(backbone), embeddings(plain)) == 0
    trained[0].adapter.use(backbone, None)
    assert distance(embeddings(backbone), mixed) == 0 < distance(mixed, embeddings(plain))


def test_a_stage_is_clustered_by_the_expert_before(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[int | None] = []
    strategy, model = MultipletUpcycling(experts=3, clusters=2, epochs=1), tiny_retriever(None)

    def labels(examples: Any, draw: Any, embed: Any) -> list[int]:
        used.append(next(module.only for module in model.modules() if hasattr(module, "only")))
        return [0] * len(examples)

    monkeypatch.setattr(strategy._miner, "labels", labels)
    trainer = tiny_trainer(strategy, model, epochs=1, batch_size=24)
    trainer.train(tiny_stream()[0], eval_streams=[])
    assert used == [0, 1] and not [module for module in model.modules() if getattr(module, "only", None)]


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        MultipletUpcycling(experts=1)
    from clplat.parts.adapters.full import Full

    trainer = tiny_trainer(MultipletUpcycling(), tiny_retriever(Full(last=1)))
    with pytest.raises(UserError, match="brings its adapter"):
        trainer.train(tiny_stream()[0], eval_streams=[])
    assert Phase("a").sampler is None
