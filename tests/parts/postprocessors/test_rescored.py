"""Another scorer on a shortlist: the sum by hand, its budget, and what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.data.records import Item, Query
from clplat.parts.postprocessors._base import Shortlist
from clplat.parts.postprocessors.rescored import Rescored
from clplat.parts.scorers.filip import Filip
from clplat.randomness import generator
from clplat.testing import PostProcessorContract

GALLERY = normalize(torch.randn(9, 2, 3, generator=generator(0, "gallery")), dim=2).flatten(1)
ASKED = normalize(torch.randn(2, 2, 3, generator=generator(0, "asked")), dim=2).flatten(1)


class TestRescored(PostProcessorContract):
    def make(self) -> Rescored:
        return Rescored(Filip(vectors=4), shortlist=3)


class Table:
    """Rows of another scorer that are there already."""

    def queries(self, scorer: Any, queries: Sequence[Query]) -> Tensor:
        return ASKED

    def items(self, scorer: Any, items: Sequence[Item]) -> Tensor:
        return GALLERY[[int(item.key) for item in items]]


def shortlist() -> Shortlist:
    items = [Item(str(i), text="words") for i in range(len(GALLERY))]
    rows = torch.tensor([[4, 1, 7, 0], [2, 8, 3, -1]])
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.5, 0.4, 0.3, -torch.inf]])

    def no_pictures(pictures: Any) -> Tensor:
        raise AssertionError("nothing has pictures")

    return Shortlist([], ASKED[:, :3], items, rows, scores, no_pictures, by=Table())


def best(query: int, row: int) -> float:
    """MaxSim of two vectors each, the better word alone (focus 1)."""
    words, patches = ASKED[query].view(2, 3).double(), GALLERY[row].view(2, 3).double()
    return max(float(word @ patch) for word in words for patch in patches)


def test_the_other_score_is_added() -> None:
    found = shortlist()
    got = Rescored(shortlist=4, scorer=Filip(vectors=2, focus=1), weight=0.5).rerank(found)
    for query, rows in enumerate(found.rows.tolist()):
        for column, row in enumerate(rows):
            if row >= 0:
                expected = float(found.scores[query, column]) + 0.5 * best(query, row)
                assert float(got[query, column]) == pytest.approx(expected, abs=1e-6)
    assert (found.spent.pairs, found.spent.pictures) == (7, 0)


def test_what_the_budget_leaves_out_stays_behind_in_its_order() -> None:
    found = shortlist()
    got = Rescored(shortlist=4, scorer=Filip(vectors=2), budget=2).rerank(found)
    assert found.spent.pairs == 4
    assert (got[:, :2].amin(1) > got[:, 2]).all() and got[0, 2] > got[0, 3]
    assert got[1, 3] == -torch.inf


@pytest.mark.parametrize("wrong", [{"shortlist": 0}, {"weight": -1.0}, {"budget": -1}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Rescored(Filip(), **wrong)
