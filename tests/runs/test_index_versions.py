"""C between versions: directions, stored columns, texts, and spaces that cannot be compared."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.evaluation.evaluator import Evaluator, VersionMetrics
from clplat.parts.projections import Identity, Procrustes, SideNetwork
from clplat.runs.assembly import assemble
from clplat.runs.experiment import run
from clplat.runs.index_versions import IndexVersions
from clplat.runs.load import load
from clplat.testing import tiny_domains, tiny_retriever
from clplat.trees import load_tree, save_tree


def config(small_backbone: Path, **projection: Any) -> dict[str, Any]:
    sizes = {"domains": 2, "train": 32, "queries": 20, "gallery": 20, "size": 16}
    return {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", **sizes},
        "strategy": "naive",
        "projection": projection,
        "train": {"epochs": 1, "batch_size": 16},
        "evaluation": {"anchors": 24},
    }


def test_a_gallery_comes_to_the_new_space_with_its_stored_vectors(
    small_backbone: Path, tmp_path: Path
) -> None:
    raw = config(small_backbone, name="side_network", hidden=8, steps=5)
    result = run(raw, tmp_path / "run")
    parts = assemble(resolve(raw))
    folder = tmp_path / "run"
    base, old = (
        load_tree(folder / "galleries" / "0.safetensors"),
        load_tree(folder / "galleries" / "1.safetensors"),
    )
    projection = SideNetwork(hidden=8, steps=5)
    projection.load_state_dict(load_tree(folder / "projections" / "2-to-1.safetensors"))
    model = load(folder)
    sets = zip(parts.evaluator.names, parts.evaluator.sets, strict=True)
    queries = {name: parts.evaluator.queries(model, held.queries)["own"] for name, held in sets}
    moved = {name: projection.map(rows, {"base": base[name]}) for name, rows in old.items()}
    by_hand = parts.evaluator.cross_version(queries, moved)
    for metric, value in by_hand.items():
        assert result["compatibility"][metric][2][1] == pytest.approx(value, abs=1e-4), metric
    assert load_tree(folder / "anchors" / "1.safetensors").keys() == {"old"}


def test_a_projection_learns_from_texts_alone(small_backbone: Path, tmp_path: Path) -> None:
    run(config(small_backbone, name="linear", steps=2, pairs="texts"), tmp_path / "run")
    kept = load_tree(tmp_path / "run" / "anchors" / "1.safetensors")
    assert set(kept) == {"texts"} and 2 < len(kept["texts"]) <= 24
    assert (tmp_path / "run" / "projections" / "2-to-1.safetensors").exists()


def versions(folder: Path, projection: Any) -> IndexVersions:
    retriever = tiny_retriever()
    retriever.projection = projection
    evaluator = Evaluator(
        tiny_domains(1), [], split="test", pictures=tuple, tokenize=lambda texts: torch.empty(0), composers={}
    )
    return IndexVersions(folder, SimpleNamespace(retriever=retriever, evaluator=evaluator), 8)  # type: ignore[arg-type]


def test_unequal_widths_have_no_number_and_need_every_vector_anew(tmp_path: Path) -> None:
    [domain] = tiny_domains(1)
    gallery, count = domain.test.gallery.name, len(domain.test.queries)
    row = VersionMetrics(queries={domain.name: torch.ones(count, 6)}, galleries={gallery: torch.ones(12, 6)})
    save_tree(tmp_path / "galleries" / "0.safetensors", {gallery: torch.ones(12, 4)})
    held = versions(tmp_path, Identity())
    before, now = held.cells(1, row)[""]["R@1"]
    assert before is None and now is not None
    assert held.backfill(1, row) == 100.0


def test_what_nobody_keeps_is_refused(tmp_path: Path) -> None:
    class Greedy(Procrustes):
        reads = frozenset({"captions"})

    with pytest.raises(UserError, match=r"unknown entry of the projection's `reads` 'captions'"):
        versions(tmp_path, Greedy())
