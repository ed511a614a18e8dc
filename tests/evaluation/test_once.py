"""What an evaluation costs: each distinct picture once per model version, however often it is needed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from clplat.config.resolve import resolve
from clplat.models.frozen import weights_fixed
from clplat.runs.assembly import assemble
from clplat.runs.experiment import run

SIZES = {"name": "catalogue", "train": 16, "queries": 20, "gallery": 20, "size": 16}


@pytest.fixture
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLPLAT_CACHE", str(tmp_path / "store"))


def experiment(domains: int, **changes: Any) -> dict[str, Any]:
    train = {"epochs": 1, "batch_size": 8}
    return {"scenario": {**SIZES, "domains": domains}, "train": train, **changes}


def pictures_of(config: dict[str, Any]) -> int:
    """Distinct pictures of all galleries, queries and probes."""
    parts = assemble(resolve(config))
    shown = [p.key for retrieval_set in parts.evaluator.sets for p in retrieval_set.gallery.pictures]
    shown += [
        query.reference.key for retrieval_set in parts.evaluator.sets for query in retrieval_set.queries
    ]
    shown += [picture.key for probe in parts.probes for picture in probe.pictures]
    return len(set(shown))


@pytest.mark.usefixtures("own_store")
@pytest.mark.parametrize("domains", [1, 3])
def test_r_for_all_domains_and_c_cost_one_embedding_of_each_gallery_a_version(
    domains: int, tmp_path: Path
) -> None:
    config = experiment(domains)
    image = run(config, tmp_path / "run")["measured"]["features"]["image"]
    assert image["encoded"] == (domains + 1) * pictures_of(config)
    assert image["reused"] > 0


@pytest.mark.usefixtures("own_store")
def test_anchors_of_projections_are_embedded_once_a_version_too(tmp_path: Path) -> None:
    config = experiment(2, projection="procrustes")
    result = run(config, tmp_path / "run")
    parts = assemble(resolve(config))
    # By version 0 those of domain 0; by 1 of both, for its map to 0 and as it grows old; by 2 of both.
    anchors = [len(domain.anchors) for domain in parts.domains]
    most = 3 * pictures_of(config) + anchors[0] + 2 * sum(anchors)
    assert 3 * pictures_of(config) < result["measured"]["features"]["image"]["encoded"] <= most


@pytest.mark.usefixtures("own_store")
def test_a_row_sends_each_distinct_picture_and_text_through_the_towers_once() -> None:
    parts = assemble(resolve(experiment(2)))
    assert parts.cache is not None
    with weights_fixed():
        parts.evaluator.row(parts.retriever)
    report = parts.cache.report()
    assert report["image"]["encoded"] == pictures_of(experiment(2))
    said = Counter(query.text for retrieval_set in parts.evaluator.sets for query in retrieval_set.queries)
    said += Counter(text for probe in parts.probes for text in probe.texts)
    assert report["text"]["encoded"] == len(said) < report["text"]["asked"]
    assert report["image"]["live"] == report["text"]["live"] == 0


@pytest.mark.usefixtures("own_store")
def test_the_zero_shot_row_is_computed_once_for_all_strategies() -> None:
    rows = []
    for strategy in ("naive", "ewc", "replay"):
        parts = assemble(resolve(experiment(2, strategy=strategy)))
        assert parts.cache is not None
        with weights_fixed():
            rows.append(parts.evaluator.row(parts.retriever))
        assert (parts.cache.report()["image"]["encoded"] == 0) == (strategy != "naive")
    assert all(torch.equal(row.queries[name], rows[0].queries[name]) for row in rows for name in row.queries)
