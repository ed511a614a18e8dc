"""A post-processor in a run: raw and processed beside each other, fitted anew for every pair of versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clplat.cli import main
from clplat.config.resolve import resolve
from clplat.evaluation.asked import measure
from clplat.parts.postprocessors import InvertedSoftmax
from clplat.parts.postprocessors._base import Banks, Scored
from clplat.runs.assembly import assemble
from clplat.runs.experiment import run
from clplat.runs.load import load
from clplat.runs.pairs import Anchors
from clplat.trees import load_tree


def test_raw_and_processed_stand_beside_each_other(
    small_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"domains": 2, "train": 32, "queries": 20, "gallery": 20, "size": 16}
    raw: dict[str, Any] = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", **sizes},
        "strategy": "naive",
        "train": {"epochs": 1, "batch_size": 16},
        "evaluation": {"anchors": 24},
    }
    plain = run(raw, tmp_path / "plain")
    raw["postprocessor"] = {"name": "inverted_softmax", "gallery_beta": 10.0}
    result = run(raw, tmp_path / "run")
    for key in ("metrics", "compatibility", "scores", "probes"):
        assert result[key] == plain[key], f"{key} are those of the raw ranking"
    found = result["sets"]["test/processed"]
    assert found["metrics"]["R@5"][0] == result["metrics"]["R@5"][0], "the untrained model saw no domain"
    assert found["metrics"] != result["metrics"]

    gains = [
        a - b
        for after, before in zip(found["metrics"]["R@5"], result["metrics"]["R@5"], strict=True)
        for a, b in zip(after, before, strict=True)
    ]
    assert [value for row in found["gain"]["R@5"] for value in row] == pytest.approx(gains, abs=1e-6)
    assert {*found["crowding"]} == {"hubness", "cosine"}, "before and after, by the newest version"
    config = ["--config", str(tmp_path / "run" / "config.yaml")]
    assert main(["run", *config, "--out", str(tmp_path / "run"), "--no-track"]) == 0  # it is at hand
    mean, gain = (sum(values["R@5"][-1]) / 2 for values in (found["metrics"], found["gain"]))
    assert f"test/processed  R@5  {mean:.1f}  {gain:+.1f}\n" in capsys.readouterr().out

    parts = assemble(resolve(raw))
    model, evaluator = load(tmp_path / "run", 2), parts.evaluator
    anchors = Anchors.of(parts.domains[:2], 24)
    held = {v: load_tree(tmp_path / "run" / "banks" / f"{v}.safetensors")["pictures"] for v in (1, 2)}
    for old in (1, 2):
        part = InvertedSoftmax(gallery_beta=10.0)
        part.fit(Banks(anchors.embedded("queries", evaluator.embed, model), held[old]))
        galleries = load_tree(tmp_path / "run" / "galleries" / f"{old}.safetensors")
        cells = []
        for asked in evaluator.sets:
            queries = evaluator.queries(model, asked.queries)["own"]
            rows = evaluator.rows_of(asked)
            mapped = part.map(Scored(queries, rows.exclude), Scored(galleries[asked.gallery.name]))
            cells.append(evaluator.means(asked, measure(asked, rows, *mapped).values)["R@5"])
        assert found["compatibility"]["R@5"][2][old] == pytest.approx(sum(cells) / 2, abs=1e-4), old
    assert found["metrics"]["R@5"][2] == pytest.approx(cells, abs=1e-4)
