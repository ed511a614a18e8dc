"""Rerankers that learn: nothing at first, better after, whatever the order; as many as are trusted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.data.records import Item
from clplat.parts.postprocessors._base import Banks, Shortlist
from clplat.parts.postprocessors.learned import Learned
from clplat.randomness import generator
from clplat.testing import PostProcessorContract

DRAW = generator(0, "rerankers")
#: Answers differ from queries by a dimension that queries do not show: its sign must be learnt.
QUERIES = normalize(torch.cat([torch.randn(64, 7, generator=DRAW), torch.zeros(64, 1)], 1), dim=1)
ANSWERS = normalize(QUERIES + torch.tensor([0.0] * 7 + [0.7]), dim=1)
WRONG = normalize(QUERIES + torch.tensor([0.0] * 7 + [-0.6]), dim=1)


class TestSet(PostProcessorContract):
    def make(self) -> Learned:
        return Learned(shortlist=3, model="set", steps=3)


class TestViews(PostProcessorContract):
    def make(self) -> Learned:
        return Learned(shortlist=3, model="views", steps=3, trust=0.9)


class TestDifferences(PostProcessorContract):
    def make(self) -> Learned:
        return Learned(shortlist=3, model="differences", steps=3)


def lists(order: Tensor) -> Shortlist:
    """Two candidates a query, right and wrong, in an order."""
    gallery = torch.cat([ANSWERS, WRONG])
    rows = torch.stack([torch.arange(64), torch.arange(64) + 64], 1)[:, order]
    scores = torch.einsum("qd,qkd->qk", QUERIES, gallery[rows])
    items = [Item(str(i), text="words") for i in range(128)]

    def hold(some: Any) -> Tensor:
        return gallery[[int(item.key) for item in some]]

    return Shortlist([], QUERIES, items, rows, scores, lambda pictures: gallery, hold=hold)


@pytest.mark.parametrize(
    ("model", "right"), [("pair", 0.9), ("set", 0.9), ("views", 0.6), ("differences", 0.9)]
)
def test_it_learns_what_answers_have_in_common_in_any_order_of_candidates(model: Any, right: float) -> None:
    part = Learned(shortlist=2, model=model, steps=40, rate=0.01)
    part.fit(Banks(QUERIES, WRONG, answers=ANSWERS))
    forward, backward = torch.tensor([0, 1]), torch.tensor([1, 0])
    found = lists(forward)
    scores = part.rerank(found)
    assert torch.allclose(part.rerank(lists(backward)), scores[:, backward], atol=1e-5), "equivariant"
    assert not (found.scores[:, 0] > found.scores[:, 1]).any(), "all are wrong at first"
    assert float((scores[:, 0] > scores[:, 1]).float().mean()) > right
    assert found.spent.pairs == 128


def test_it_hands_out_as_many_as_it_trusts() -> None:
    part = Learned(shortlist=2, steps=40, rate=0.01, trust=0.75)
    assert part.keeps(torch.zeros(1, 2)) is not None and Learned().keeps(torch.zeros(1, 2)) is None
    part.fit(Banks(QUERIES, WRONG, answers=ANSWERS))
    keeps = part.keeps(part.rerank(lists(torch.tensor([0, 1]))))
    assert keeps is not None and keeps[:, 1].float().mean() < 0.25
    assert float(keeps[:, 0].float().mean()) > 0.7, "of right ones as many as in training at least"


@pytest.mark.parametrize(
    "wrong", [{"shortlist": 0}, {"model": "mine"}, {"rate": 0.0}, {"trust": 0.0}, {"apart": -1.0}]
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Learned(**wrong)
