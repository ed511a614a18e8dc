"""Whole runs with heads and scorers: what is stored, row 0, views beside the whole, late interaction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clplat.errors import UserError
from clplat.evaluation.ranking import rank_of_targets
from clplat.models.backbone import Backbone
from clplat.parts.heads._views import Prefix
from clplat.runs.experiment import run
from clplat.runs.load import load
from clplat.search import Searcher
from clplat.trees import load_tree

MODEL = {
    "embed_dim": 24,
    "vision_cfg": {"layers": 2, "width": 32, "image_size": 16, "patch_size": 8, "head_width": 16},
    "text_cfg": {"layers": 2, "width": 48, "context_length": 48, "heads": 2},
}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("backbone")
    Backbone.random(MODEL, seed=0).save(folder)
    return f"local-dir:{folder}"


def ran(backbone: str, out: Path, domains: int = 2, **more: Any) -> dict[str, Any]:
    return run(
        {
            "backbone": backbone,
            "scenario": {
                "name": "catalogue",
                "domains": domains,
                "train": 32,
                "queries": 20,
                "gallery": 20,
                "size": 16,
            },
            "train": {"epochs": 1, "batch_size": 16},
            "evaluation": {"anchors": 32},
            **more,
        },
        out,
        checkpoint_every=0,
    )


def test_bits_are_what_is_stored_and_row_0_is_clips(backbone, tmp_path):
    head = {"name": "bebr", "width": 64, "loops": 2, "hidden": 32}
    strategy = {"name": "backward_compatible"}
    result = ran(backbone, tmp_path / "codes", head=head, strategy=strategy, adapter="none")
    plain = ran(backbone, tmp_path / "plain", strategy="frozen", adapter="none")
    assert result["cost"]["bytes_per_item"] == 16 and plain["cost"]["bytes_per_item"] == 96
    for kind in ("metrics", "baselines", "probes"):
        names = result[kind] if kind == "metrics" else next(iter(result[kind].values()))
        other = plain[kind] if kind == "metrics" else plain[kind][next(iter(result[kind]))]
        assert all(names[metric][0] == other[metric][0] for metric in names), f"{kind}: row 0 is not CLIP's"
    first, *later = (load_tree(tmp_path / f"codes/galleries/{i}.safetensors") for i in range(3))
    assert all(rows.shape[1:] == (24,) and rows.dtype == torch.float32 for rows in first.values())
    for galleries in later:
        assert all(rows.shape == (20, 16) and rows.dtype == torch.uint8 for rows in galleries.values())
    cells = result["compatibility"]["R@5"]
    assert cells[1][0] is None and cells[2][0] is None, "codes cannot search an index of floats"
    assert None not in (cells[0][0], cells[1][1], cells[2][1], cells[2][2])
    assert [scores["backfill"] for scores in result["scores"]][1] == 100.0
    assert result["scores"][2]["AC"] in (0.0, 1.0), "one pair is comparable"
    assert result["scores"][2]["zs_retention"] > 0


def test_a_head_of_codes_is_measured_on_the_stored_bits_with_ties_against(backbone, tmp_path):
    """The numbers of version 1 again, slowly, from the files of the run and integer similarities."""
    head = {"name": "bebr", "width": 8, "loops": 1, "hidden": 32}
    result = ran(backbone, tmp_path, domains=1, head=head, adapter="none")
    searcher = Searcher(tmp_path, version=1)
    evaluator, retriever = searcher.parts.evaluator, searcher.parts.retriever
    [held] = evaluator.sets
    stored = load_tree(tmp_path / "galleries/1.safetensors")[held.gallery.name]
    places = torch.arange(8)
    bits = ((stored.int() >> places) & 1) * 2 - 1
    queries = evaluator.queries(retriever, held.queries)["own"].sign().long()
    asked = evaluator.rows_of(held)
    hits = []
    for q, query in enumerate(queries):
        scores = bits @ query
        scores[asked.exclude[q][asked.exclude[q] >= 0]] = -99
        targets = asked.targets[q][asked.targets[q] >= 0]
        best = scores[targets].max()
        others = torch.ones(20, dtype=torch.bool)
        others[targets] = False
        hits.append(int((scores[others] >= best).sum()) < 5)
    assert result["ties"][1] != [0] and result["ties"][0] == [0]
    assert result["metrics"]["R@5"][1] == [pytest.approx(100 * sum(hits) / len(hits), abs=1e-4)]


def test_prefixes_stand_beside_the_whole_with_every_table(backbone, tmp_path):
    head = {"name": "matryoshka", "dims": [12, 6]}
    result = ran(backbone, tmp_path, head=head, adapter="full")
    assert result["status"] == "complete" and list(result["views"]) == ["d12", "d6"]
    assert result["cost"]["bytes_per_item"] == 96 and result["views"]["d6"]["bytes_per_item"] == 24
    for view in result["views"].values():
        assert list(view["metrics"]) == list(result["metrics"]) and len(view["ties"]) == 3
        assert view["tags"].keys() == result["tags"].keys()
        assert view["baselines"].keys() == result["baselines"].keys()
        assert [len(row) for row in view["compatibility"]["R@5"]] == [3, 3, 3]
    assert {"task/full", "task/d12", "task/d6", "task", "loss"} <= result["training"].keys()
    curves = result["training"]
    total = [
        sum(curves[f"task/{view}"][i] for view in ("full", "d12", "d6")) for i in range(len(curves["task"]))
    ]
    assert total == pytest.approx(curves["task"], abs=1e-4)
    searcher = Searcher(tmp_path, version=2)
    evaluator, view = searcher.parts.evaluator, Prefix(6)
    for j, held in enumerate(evaluator.sets):
        gallery = load_tree(tmp_path / "galleries/d6/2.safetensors")[held.gallery.name]
        assert gallery.shape == (20, 6)
        query = view.map(evaluator.queries(searcher.parts.retriever, held.queries)["own"], "query")
        asked = evaluator.rows_of(held)
        ranks, _ = rank_of_targets(query, gallery, asked.targets, asked.exclude)
        found = 100 * (ranks < 5).double().mean().item()
        assert result["views"]["d6"]["metrics"]["R@5"][2][j] == pytest.approx(found, abs=1e-4)


def test_late_interaction_in_training_retrieval_search_and_probes(backbone, tmp_path):
    result = ran(backbone, tmp_path, domains=1, scorer={"name": "filip", "vectors": 20}, adapter="full")
    assert result["status"] == "complete" and result["cost"]["bytes_per_item"] == 20 * 24 * 4
    searcher = Searcher(tmp_path)
    evaluator, retriever = searcher.parts.evaluator, searcher.parts.retriever
    [held] = evaluator.sets
    gallery = load_tree(tmp_path / "galleries/1.safetensors")[held.gallery.name]
    queries = evaluator.queries(retriever, held.queries)["own"]
    scores = torch.stack([retriever.scorer.pairs(q.expand(20, -1), gallery) for q in queries])
    asked, hits = evaluator.rows_of(held), 0
    for q, row in enumerate(scores.tolist()):
        hidden = set(asked.exclude[q].tolist())
        order = sorted((g for g in range(20) if g not in hidden), key=lambda g: (-row[g], g))
        hits += bool({g for g in asked.targets[q].tolist() if g >= 0} & set(order[:5]))
    assert result["metrics"]["R@5"][1] == [pytest.approx(100 * hits / len(queries), abs=1e-4)]
    query = held.queries[0]
    found = searcher.find(query.reference.key, query.text, k=3)
    row = {item.key: scores[0, i] for i, item in enumerate(held.gallery.items)}
    assert found.scores == pytest.approx([float(row[item.key]) for item in found.items], abs=1e-5)
    with pytest.raises(UserError, match="index 'hnsw' searches by inner product, scorer Filip is none"):
        searcher.find(query.reference.key, query.text, index="hnsw")
    assert load(tmp_path).scorer.vectors == 20


def test_version_0_of_a_random_head_is_searched_without_it(backbone, tmp_path):
    ran(
        backbone,
        tmp_path,
        domains=1,
        head={"name": "bebr", "width": 8, "loops": 1, "hidden": 32},
        adapter="none",
    )
    bare, coded = (Searcher(tmp_path, version=version).gallery()[1] for version in (0, 1))
    assert bare.shape == (20, 24) and coded.shape == (20, 1) and coded.dtype == torch.uint8


def test_a_run_with_a_projection_and_codes(backbone, tmp_path):
    """New queries reach the floats of version 0 and the codes of version 1 through a fitted map."""
    head = {"name": "bebr", "width": 32, "loops": 1, "hidden": 32}
    result = ran(backbone, tmp_path, head=head, adapter="none", projection="procrustes")
    assert all(None not in row[: i + 1] for i, row in enumerate(result["compatibility"]["R@5"]))
