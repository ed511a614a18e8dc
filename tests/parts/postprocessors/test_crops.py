"""Reranking by crops: the formula by hand in float64, the place of what is beyond, and a whole run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clplat.config.resolve import resolve
from clplat.data.protocol import Protocol
from clplat.data.records import Item, Picture
from clplat.errors import UserError
from clplat.evaluation.lists import load_lists
from clplat.evaluation.reranking import reranked_sets
from clplat.parts.postprocessors._base import Shortlist
from clplat.parts.postprocessors.crops import Crops, _box
from clplat.runs.assembly import assemble
from clplat.runs.experiment import run


def painted(key: str, colours: list[tuple[int, int, int]]) -> Picture:
    """Four quarters of one colour each."""
    picture = Image.new("RGB", (8, 8))
    for i, colour in enumerate(colours):
        picture.paste(colour, (4 * (i % 2), 4 * (i // 2), 4 * (i % 2) + 4, 4 * (i // 2) + 4))
    return Picture(key, lambda: picture)


def by_colour(pictures: Any) -> torch.Tensor:
    """The mean colour as the embedding, of unit length."""
    rows = [np.asarray(picture.load(), dtype=np.float64).mean((0, 1)) for picture in pictures]
    return torch.tensor(np.array([row / np.linalg.norm(row) for row in rows])).float()


def test_the_formula() -> None:
    first = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (10, 10, 10)]
    second = [(200, 100, 0)] * 4
    items = [Item.of(painted("a", first)), Item.of(painted("b", second)), Item.of(text="words")]
    q = np.array([[0.9, 0.3, 0.1], [0.0, 0.6, 0.8]])
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    rows, scores = (
        torch.tensor([[1, 0, 2], [2, 0, -1]]),
        torch.tensor([[0.9, 0.5, 0.4], [0.3, 0.2, -torch.inf]]),
    )
    found = Shortlist([], torch.tensor(q).float(), items, rows, scores, by_colour)
    got = Crops(shortlist=3, grid=2, weight=0.7).rerank(found)

    def best(query: int, colours: list[tuple[int, int, int]]) -> float:
        return max(float(q[query] @ (np.array(c) / np.linalg.norm(c))) for c in colours)

    expected = [
        [0.9 + 0.7 * best(0, second), 0.5 + 0.7 * best(0, first), 0.4 + 0.7 * 0.4],
        [0.3 + 0.7 * 0.3, 0.2 + 0.7 * best(1, first)],
    ]
    assert got[0].tolist() == pytest.approx(expected[0], abs=1e-6)
    assert got[1, :2].tolist() == pytest.approx(expected[1], abs=1e-6)
    assert (found.spent.pictures, found.spent.pairs) == (8, 20)


def test_the_parts_of_a_picture_cover_it() -> None:
    odd = Picture("odd", lambda: Image.fromarray(np.arange(7 * 5 * 3, dtype=np.uint8).reshape(7, 5, 3)))
    parts = [np.asarray(crop.load()) for crop in Crops(grid=3).parts(odd)]
    whole = np.concatenate([np.concatenate(parts[3 * i : 3 * i + 3], 1) for i in range(3)], 0)
    assert np.array_equal(whole, np.asarray(odd.load()))


@pytest.mark.parametrize("wrong", [{"shortlist": 0}, {"grid": 0}, {"weight": -1.0}, {"weight": float("nan")}])
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Crops(**wrong)


def test_a_run_keeps_both_rankings_and_counts_the_cost(small_backbone: Path, tmp_path: Path) -> None:
    base = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", "domains": 1, "train": 8, "queries": 8, "gallery": 20, "size": 16},
        "strategy": "frozen",
        "probes": "none",
    }
    parts = {
        "idle": {"name": "crops", "weight": 0.0, "shortlist": 5},
        "crops": {"name": "crops", "shortlist": 5},
    }
    results = {name: run({**base, "postprocessor": part}, tmp_path / name) for name, part in parts.items()}
    idle = results["idle"]["sets"]["test/reranked"]["metrics"]
    assert idle == {name: idle[name] for name in results["idle"]["metrics"]} == results["idle"]["metrics"]
    assert results["crops"]["metrics"] == results["idle"]["metrics"]
    cost = results["crops"]["sets"]["test/reranked"]["cost"]
    lists = load_lists(tmp_path / "crops" / "lists" / "1.safetensors")
    [kept], [again] = (list(lists[name].values()) for name in ("test", "test/reranked"))
    assert cost == {
        "pairs": 8 * 5 * 4,
        "pictures": 4 * len(kept.rows[:, :5].unique()),
        "texts": 0,
        "index_pairs": 0,
        "queries": 8,
        "shortlist": 5,
        "ceiling": results["crops"]["metrics"]["R@5"][1][0],
    }
    assert results["crops"]["measured"]["rerank_ms_per_query"] > 0
    assert torch.equal(kept.rows[:, 5:], again.rows[:, 5:])
    assert torch.equal(kept.rows[:, :5].sort(1).values, again.rows[:, :5].sort(1).values)
    assert results["crops"]["sets"]["test/reranked"]["metrics"]["R@10"] == results["crops"]["metrics"]["R@10"]


@pytest.mark.parametrize(("primary", "taken"), [("R@5", True), ("mean(R@5, R_sub@1)", False)])
def test_lists_of_the_whole_gallery_are_reranked_whatever_else_is_measured(primary: str, taken: bool) -> None:
    protocol = Protocol("mine", metrics=("R@1", "R@5", "R_sub@1"), primary=primary)
    held = SimpleNamespace(protocol=protocol)
    evaluator: Any = SimpleNamespace(split="test", names=["one"], sets=[held], further={})
    if taken:
        assert reranked_sets(evaluator) == {"test": {"one": held}}
    else:
        with pytest.raises(UserError, match="it needs a primary metric over the whole gallery"):
            reranked_sets(evaluator)


def test_a_scorer_of_several_vectors_is_refused() -> None:
    with pytest.raises(
        UserError, match="'crops' compares one vector of each item, which scorer 'filip' does not"
    ):
        assemble(resolve({"postprocessor": "crops", "scorer": "filip"}))


def test_scales_in_one_and_the_box_of_what_is_most_itself() -> None:
    """S2: with weight 1 the mean of the tiles beside the whole; GLSim: one crop around the best patches."""
    quarters = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0)]
    items, q = [Item.of(painted("a", quarters))], torch.tensor([[0.6, 0.8, 0.0]])
    rows, scores = torch.tensor([[0]]), torch.tensor([[0.5]])
    made = Crops(pool="mean", weight=1.0).rerank(Shortlist([], q, items, rows, scores, by_colour))
    assert made.tolist() == [[pytest.approx(0.5 + (0.6 + 0.8 + 0.0 + 0.6) / 4)]]

    class Patches:
        """Four patches that are the colours of the quarters."""

        def patches(self, items: Any) -> torch.Tensor:
            return torch.tensor(quarters).float().expand(len(items), -1, -1) / 255

    red = torch.tensor([[1.0, 0.0, 0.0]])
    seen: list[Picture] = []

    def embed(pictures: Any) -> torch.Tensor:
        seen.extend(pictures)
        return by_colour(pictures)

    by: Any = Patches()
    found = Shortlist([], q, items, rows, scores, embed, by=by, hold=lambda some: red)
    Crops(crops="similar", top=1).rerank(found)
    Crops(crops="similar", top=2).rerank(found)
    assert [picture.load().size for picture in seen] == [(4, 4), (8, 8)], "one quarter; both red ones"
    assert seen[0].load().getpixel((0, 0)) == (255, 0, 0) and found.spent.pictures == 4


def test_a_box_lies_in_the_square_that_towers_see() -> None:
    wide = Picture("wide", lambda: Image.fromarray(np.arange(20 * 8 * 3, dtype=np.uint8).reshape(8, 20, 3)))
    whole = np.asarray(wide.load())
    assert np.array_equal(np.asarray(_box(wide, [1, 0, 2, 3], 4)), whole[2:4, 6:12])
    assert _box(wide, [0, 0, 7, 7], 7).size == (8, 8)
