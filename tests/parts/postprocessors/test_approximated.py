"""Estimates by anchors are exact where the rank allows, and decide which candidates are scored exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.data.records import Item
from clplat.parts.postprocessors._base import Shortlist
from clplat.parts.postprocessors.approximated import Approximated
from clplat.parts.scorers.dot import Dot
from clplat.parts.scorers.filip import Filip
from clplat.randomness import generator
from clplat.testing import PostProcessorContract

ASKED = normalize(torch.randn(2, 3, generator=generator(0, "a")), dim=1)
GALLERY = normalize(torch.randn(9, 3, generator=generator(0, "g")), dim=1)


class TestApproximated(PostProcessorContract):
    def make(self) -> Approximated:
        return Approximated(Filip(vectors=4), shortlist=3, anchors=2, budget=1)


class Table:
    """Rows of another scorer that are there already."""

    def queries(self, scorer: Any, queries: Any) -> Tensor:
        return ASKED

    def items(self, scorer: Any, items: Any) -> Tensor:
        return GALLERY[[int(item.key) for item in items]]


def test_estimates_choose_what_is_scored() -> None:
    items = [Item(str(i), text="words") for i in range(9)]
    rows = torch.tensor([[4, 1, 7, 0], [2, 8, 3, -1]])
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.3, -torch.inf]])
    found = Shortlist([], ASKED, items, rows, scores, lambda pictures: GALLERY, by=Table())
    got = Approximated(shortlist=4, scorer=Dot(), anchors=3, budget=1).rerank(found)
    exact = scores.double() + torch.einsum("qd,qkd->qk", ASKED.double(), GALLERY[rows].double())
    assert torch.equal(got.argsort(1, descending=True), exact.argsort(1, descending=True))
    best = exact.amax(1).float()
    assert torch.allclose(got.amax(1), best, atol=1e-6), "the best of each query is scored exactly"
    assert found.spent.pairs == 2 * 3 + 2 * 1, "anchors and the one best of each query"
    assert found.spent.index_pairs == 3 * len(
        torch.unique(torch.cat([rows[rows >= 0], torch.tensor([0, 3, 6])]))
    )


@pytest.mark.parametrize("wrong", [{"anchors": 0}, {"budget": 0}, {"weight": float("nan")}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Approximated(Dot(), **wrong)
