"""GrowCLIP: the best candidate is kept, growing preserves the function, what is there is inherited."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clplat.mechanisms.growth import prune
from clplat.mechanisms.low_rank import low_rank_layers
from clplat.parts.adapters._growing import Growing
from clplat.parts.composers.sum import Sum
from clplat.testing import StrategyContract, tiny_domains, tiny_learner, tiny_retriever
from clplat.testing.checks import difference
from clplat.testing.loop import Experience
from clplat.testing.towers import distance, embeddings, train_a_little
from strategies import GrowthSearch


class TestGrowthSearch(StrategyContract):
    def make(self) -> GrowthSearch:
        return GrowthSearch(ranks=[1], layers=["mlp"], units=[2], steps=1, batch_size=8)


def begun(strategy: GrowthSearch, model: Any = None, number: int = 0) -> Any:
    model = model or tiny_retriever(None, Sum())
    data = tiny_domains()[number % 2].train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        strategy.before_experience(tiny_learner(model), Experience(data, number, []))
    return model


def test_what_is_tried_leaves_no_trace_and_the_best_is_kept() -> None:
    strategy = GrowthSearch(ranks=[1, 4], layers=["mlp", "attention"], steps=2, batch_size=8)
    model = begun(strategy)
    (found,) = strategy.grown
    best = min(range(4), key=found["scores"].__getitem__)
    assert (found["layers"], found["rank"]) == [("mlp", 1), ("mlp", 4), ("attention", 1), ("attention", 4)][
        best
    ]
    assert found["parameters"] == sum(p.numel() for p in model.backbone.parameters() if p.requires_grad)
    numbers = {"rank": found["rank"], "parameters": found["parameters"], "loss": min(found["scores"])}
    assert strategy.numbers() == numbers | {"units": 0, "blocks": 0}
    assert distance(embeddings(model.backbone), embeddings(tiny_retriever(None).backbone)) <= 1e-6
    assert len(low_rank_layers(model.backbone)) == (8 if found["layers"] == "mlp" else 16)
    again = GrowthSearch(ranks=[1, 4], layers=["mlp", "attention"], steps=2, batch_size=8)
    begun(again)
    assert again.grown == strategy.grown


def test_a_price_keeps_the_model_small() -> None:
    for price, rank in ((1e9, 1), (0.0, None)):
        strategy = GrowthSearch(ranks=[4, 1], layers=["mlp"], steps=1, batch_size=8, price=price)
        begun(strategy)
        assert rank is None or strategy.grown[0]["rank"] == rank


def test_inheritance_is_a_mix_with_fresh_factors() -> None:
    """B of a fresh change is zero, so that a change is scaled by the momentum's square and its A moves."""
    for momentum in (1.0, 0.5):
        strategy = GrowthSearch(ranks=[2], layers=["mlp"], momentum=momentum)
        model = begun(strategy)
        train_a_little(model.backbone)
        before = embeddings(model.backbone)
        old = {
            path: layer.newest().up.detach().clone()
            for path, layer in low_rank_layers(model.backbone).items()
        }
        begun(strategy, model, 1)
        for path, layer in low_rank_layers(model.backbone).items():
            first, second = layer.in_use()
            torch.testing.assert_close(first.up, momentum * old[path])
            assert not bool(second.up.any()) and first.up.requires_grad and first.down.requires_grad
        assert (distance(embeddings(model.backbone), before) <= 1e-6) == (momentum == 1.0)
    assert [entry["parameters"] for entry in strategy.grown] == [strategy.grown[0]["parameters"]] * 2


def test_pruning_takes_a_change_out_again() -> None:
    model = tiny_retriever(None, Sum())
    names, before = set(model.backbone.model.state_dict()), embeddings(model.backbone)
    Growing(2, 4.0, "mlp").grow(model, 0, "test")
    train_a_little(model.backbone)
    prune(model.backbone, "domain0")
    assert set(model.backbone.model.state_dict()) == names and not model.backbone.adapters.installed
    assert not difference(embeddings(model.backbone), before)


def test_width_and_depth_are_tried_too_and_grow_again_after_a_resume() -> None:
    options: dict[str, Any] = {"ranks": [1], "layers": ["mlp"], "units": [2], "blocks": True, "batch_size": 8}
    strategy = GrowthSearch(**options, steps=1, budget=9, momentum=1.0)
    model = tiny_retriever(None, Sum())
    before = embeddings(model.backbone)
    begun(strategy, model)
    (first,) = strategy.grown
    assert len(first["scores"]) == 3 == len({*first["scores"]})
    assert distance(embeddings(model.backbone), before) <= 1e-6
    for number, candidate in enumerate((2, 1), 1):  # whatever the study says: a block, then units
        one = GrowthSearch(**options, momentum=0.5)
        one.grown, one.candidates = strategy.grown, one.candidates[candidate:][:1]
        train_a_little(model.backbone)
        begun(one, model, number)
        strategy.grown[-1]["candidate"] = candidate
    trained = {name for name, p in model.backbone.named_parameters() if p.requires_grad}
    held = {name for name, _ in model.backbone.named_parameters() if ".changes." in name}
    assert {name for name in held if not name.endswith("magnitude")} == trained
    sizes = [entry["parameters"] for entry in strategy.grown]
    assert sum(sizes) == sum(model.backbone.get_parameter(name).numel() for name in trained)
    again = tiny_retriever(None, Sum())
    strategy.rebuild(tiny_learner(again))
    again.load_state_dict(model.state_dict())
    assert not difference(embeddings(again.backbone), embeddings(model.backbone))


@pytest.mark.parametrize(
    "options", [{"ranks": []}, {"layers": ["norm"]}, {"momentum": 2.0}, {"held_out": 0.0}]
)
def test_what_it_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"needs|must be"):
        GrowthSearch(**options)
