"""Askers by hand in float64, what fuses them, and what a query or candidate may lack."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from clplat.data.records import Item, Picture, Query
from clplat.data.text_table import TextTable
from clplat.parts.postprocessors._base import Shortlist
from clplat.parts.postprocessors.branches import Branches
from clplat.randomness import generator

TOLD = {"hen": ["two legs", "a beak"], "fox": ["a bushy tail"]}


def unit(name: str) -> torch.Tensor:
    """A unit vector for any name."""
    return normalize(torch.randn(5, generator=generator(0, "branches", name)), dim=0)


def picture(key: str) -> Picture:
    return Picture(key, lambda: Image.new("RGB", (4, 4)))


def found(queries: list[Query]) -> Shortlist:
    """Three candidates, the last of words; the last query has two."""
    items = [Item.of(picture("a")), Item.of(picture("b")), Item.of(text="a fox")]
    rows = torch.tensor([[1, 0, 2]]).repeat(len(queries), 1)
    asked = torch.stack([unit(f"q{i}") for i in range(len(queries))])
    held = torch.stack([unit(item.key) for item in items])
    scores = torch.einsum("qd,qkd->qk", asked, held[rows])
    rows[-1, -1], scores[-1, -1] = -1, -torch.inf

    def stack(some: Any) -> torch.Tensor:
        return torch.stack([unit(getattr(one, "key", one)) for one in some])

    return Shortlist(queries, asked, items, rows, scores, stack, say=stack, hold=stack)


BOTH = Query("0", picture("r"), "a brown hen", ())
WORDS = Query("1", None, "a dog", ())


def test_the_mean_of_cosines_with_descriptions_and_classes_by_theirs() -> None:
    got = Branches(ask=["described"], descriptions=TOLD).rerank(found([BOTH, WORDS]))
    hen = [unit(f"a brown hen, which has {one}").double() for one in TOLD["hen"]]
    for column, name in ((0, "b"), (1, "a")):
        expected = sum(float(d @ unit(name).double()) for d in hen) / 2
        assert math.isclose(float(got[0, column]), expected, abs_tol=1e-6)
        assert math.isclose(float(got[1, column]), float(unit("a dog") @ unit(name)), abs_tol=1e-6)
    fox = float(unit("q0") @ unit("a fox, which has a bushy tail"))
    assert math.isclose(float(got[0, 2]), fox, abs_tol=1e-6) and got[1, 2] == -torch.inf


def test_x_more_weighs_each_branch_by_its_certainty_for_the_query() -> None:
    captions = [f"caption {i}" for i in range(5)]
    part = Branches(ask=["picture", "captions"], fuse="certainty", scale=7.0, captions=captions, nearest=2)
    got = part.rerank(found([BOTH, WORDS]))
    items = torch.stack([unit(key) for key in ("b", "a", "a fox")]).double()
    memory = torch.stack([unit(one) for one in captions]).double()

    def branch(row: torch.Tensor) -> torch.Tensor:
        return (7.0 * items @ row).softmax(0)

    near = normalize(memory[(memory @ unit("r").double()).topk(2).indices].mean(0), dim=0)
    shares = [branch(unit("r").double()), branch(near)]
    certain = [1 + float((p * p.log()).sum()) / math.log(3) for p in shares]
    expected = sum(c * p for c, p in zip(certain, shares, strict=True)) / sum(certain)
    assert torch.allclose(got[0].double(), expected, atol=1e-5)
    near = normalize(memory[(memory @ unit("q1").double()).topk(2).indices].mean(0), dim=0)
    alone = (7.0 * items[:2] @ near).softmax(0)
    assert torch.allclose(got[1, :2].double(), alone, atol=1e-4), "a query of words has no picture's branch"


def test_the_mean_is_over_those_that_a_query_has() -> None:
    got = Branches(ask=["query", "picture", "words"]).rerank(shown := found([BOTH, WORDS]))
    rows = [unit("q0"), unit("r"), unit("a brown hen")]
    assert math.isclose(float(got[0, 1]), sum(float(row @ unit("a")) for row in rows) / 3, abs_tol=1e-6)
    assert math.isclose(float(got[1, 0]), float((unit("q1") + unit("a dog")) @ unit("b")) / 2, abs_tol=1e-6)
    assert (shown.spent.pictures, shown.spent.texts) == (1, 2)


def test_a_table_has_descriptions_and_captions(tmp_path: Path) -> None:
    rows = {("", "hen"): ("two legs",), ("a.jpg", ""): ("a hen",), ("a.jpg", "is red"): ("a red hen",)}
    TextTable(rows).write(tmp_path / "texts.jsonl")
    part = Branches(ask=["described", "captions"], texts=str(tmp_path / "texts.jsonl"))
    assert part.told("A brown hen") == ["A brown hen, which has two legs"] and part.memory == ("a hen",)
    assert part.told("hens") == ["hens"], "whole words alone"
    with pytest.raises(ValueError, match="no such file"):
        Branches(texts="nowhere.jsonl")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"ask": ["nobody"]}, "ask takes query, picture"),
        ({"ask": ["described"]}, "needs descriptions"),
        ({"ask": ["captions"]}, "needs captions"),
        ({"scale": 0.0}, "scale > 0"),
        ({"fuse": "max"}, "mean or certainty"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Branches(**wrong)
