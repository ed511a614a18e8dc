"""Chance levels: the closed forms against orders that are drawn, through the evaluator's own metrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clplat.data.protocol import Protocol
from clplat.data.records import Gallery, Item, Query, RetrievalSet
from clplat.evaluation.asked import asked, measure
from clplat.evaluation.chance import chance_levels, chance_of, chance_warning


def drawn(size: int, targets: int, ks: tuple[int, ...], orders: int = 20_000) -> dict[str, float]:
    """Means over orders at random, by counting."""
    places = np.argsort(np.random.default_rng(size).random((orders, size)), axis=1)[:, :targets]
    places.sort(axis=1)
    out = {"MRR": float((1 / (places[:, 0] + 1)).mean())}
    for k in ks:
        hits = (np.arange(1, targets + 1) / (places + 1)) * (places < k)
        out |= {f"R@{k}": float((places[:, 0] < k).mean())}
        out |= {f"mAP@{k}": float(hits.sum(1).mean() / min(targets, k))}
    return out


@pytest.mark.parametrize("size, targets", [(1, 1), (7, 1), (20, 1), (20, 3), (20, 12), (5, 5)])
def test_closed_forms_are_means_over_drawn_orders(size: int, targets: int) -> None:
    for metric, value in drawn(size, targets, (1, 5, 10)).items():
        assert chance_of(metric, size, targets) == pytest.approx(value, abs=0.012), metric


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="3 right answers among 2 candidates"):
        chance_of("R@1", 2, 3)


def test_a_protocol_with_everything_is_what_random_embeddings_measure() -> None:
    """Several answers, exclusions, own candidates, a main answer, and a mean of metrics."""
    gallery = Gallery("g", tuple(Item(f"p{i}", text="red") for i in range(30)))
    queries = tuple(
        Query(
            id=f"q{i}",
            reference=None,
            text="red",
            targets=tuple(f"p{(i + j) % 30}" for j in (1, 2, 3)[: 1 + i % 3]),
            main=f"p{(i + 1) % 30}",
            candidates=tuple(f"p{(i + j) % 30}" for j in (0, 1, 5, 9, 11)),
            exclude=(f"p{(i + 20) % 30}",),
        )
        for i in range(12)
    )
    metrics = ("R@1", "R@5", "mAP@5", "MRR", "R_sub@1", "R_sub@2", "R_main@5", "MRR_main")
    protocol = Protocol("all", metrics=metrics, primary="mean(R@5, R_sub@1)", exclude_reference=True)
    held = RetrievalSet(queries, gallery, protocol)
    found, rows, totals = chance_levels(held), asked(held), dict.fromkeys(metrics, 0.0)
    draw, rounds = torch.Generator().manual_seed(0), 400
    for _ in range(rounds):
        embedded = torch.randn(12, 8, generator=draw), torch.randn(30, 8, generator=draw)
        values = measure(held, rows, *embedded).values
        totals = {name: totals[name] + values[name].mean().item() / rounds for name in metrics}
    assert {name: found[name] for name in metrics} == pytest.approx(
        {name: 100 * value for name, value in totals.items()}, abs=2.0
    )
    assert found["mean(R@5, R_sub@1)"] == pytest.approx((found["R@5"] + found["R_sub@1"]) / 2)


def test_a_model_that_knows_nothing_is_told_so() -> None:
    luck = torch.rand(400, generator=torch.Generator().manual_seed(0))
    result = {"protocol": {"primary": "R@5"}, "chance": {"R@5": [1.9]}}
    said = chance_warning(result, {"a": (luck < 0.02).float()})
    assert "at chance (R@5 1." in said or "at chance (R@5 2." in said
    assert "chance 1.9" in said and "clplat pretrain --source" in said and "local-dir:FOLDER" in said
    assert chance_warning(result, {"a": torch.zeros(20)})
    assert chance_warning(result, {"a": (luck < 0.2).float()}) == ""
