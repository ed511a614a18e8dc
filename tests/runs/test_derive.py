"""A finished run is merged without training: ends that are known, costs inherited, errors in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from clplat.cli import main
from clplat.errors import UserError
from clplat.files import read_json
from clplat.runs.derive import derivations, derive
from clplat.runs.experiment import run
from clplat.runs.load import load
from clplat.testing.checks import difference, weights
from clplat.tracking import from_results

SMALL: dict[str, Any] = {
    "scenario": {"name": "catalogue", "domains": 2, "train": 32, "queries": 20, "gallery": 20, "size": 16},
    "train": {"epochs": 1, "batch_size": 16, "lr": 3e-3},
    "evaluation": {"anchors": 32},
    "probes": "none",
    "strategy": "naive",
    "seed": 3,
}


@pytest.fixture(scope="module", params=["full", "lora"])
def source(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, small_backbone: Path
) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "naive-s3"
    options = {"full": {"name": "full", "last": 1}, "lora": {"name": "lora", "targets": "mlp"}}
    rate = {"full": 3e-3, "lora": 0.05}[request.param]
    raw = {
        **SMALL,
        "backbone": f"local-dir:{small_backbone}",
        "adapter": options[request.param],
        "train": {**SMALL["train"], "lr": rate},
    }
    run(raw, folder, checkpoint_every=0)
    return folder


def test_the_ends_of_a_sweep_of_weights_are_known(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--strategy", "task_arithmetic", "--strategy.weight", "0,0.5,1.0", "--no-track"]
    assert main(["derive", str(source), *words]) == 0
    assert "task_arithmetic weight=0.5" in capsys.readouterr().out
    trained = read_json(source / "result.json")
    nothing, half, whole = (
        read_json(source.parent / f"naive-s3-task_arithmetic-weight{w}" / "result.json")
        for w in ("0", "0.5", "1.0")
    )
    rows = trained["metrics"]["R@5"]
    assert whole["metrics"] == trained["metrics"] and whole["compatibility"] == trained["compatibility"]
    assert nothing["metrics"]["R@5"] == [rows[0]] * 3
    assert rows[0] != rows[2], "training moved something"
    for result in (nothing, half, whole):
        assert result["status"] == "complete" and result["config"]["seed"] == 3
        assert result["config"]["derived"]["name"] == "naive"
        assert result["cost"]["training_flops"] == trained["cost"]["training_flops"] > 0
        assert result["cost"]["trainable_parameters"] == trained["cost"]["trainable_parameters"]
        assert result["cost"]["state_bytes"] > 0 and result["training"] == trained["training"]
    table = from_results([trained, nothing, half, whole])
    assert len(table) == 4, "they are methods of their own, paired by their seed"


def test_a_derived_version_on_disk_is_the_merged_model(source: Path, tmp_path: Path) -> None:
    (one,) = derivations(source, {"strategy": "patch", "strategy.alpha": 1.0}, tmp_path)
    derive(one)
    assert not difference(weights(load(one.folder)), weights(load(source)))
    (one,) = derivations(source, {"strategy": "ties", "strategy.density": 0.5}, tmp_path)
    first, again = derive(one), derive(one)
    assert first == again and one.folder.name == "naive-s3-ties"
    words = json.dumps(first["command"])
    assert "clplat derive" in words and "--strategy.density 0.5" in words


def test_an_interrupted_one_goes_on(source: Path, tmp_path: Path) -> None:
    from clplat.events import Listener

    class Stop(Listener):
        def row(self, result: dict[str, Any]) -> None:
            if len(result["scores"]) == 2:
                raise KeyboardInterrupt

    options = {"strategy": "task_arithmetic", "strategy.weight": 0.5}
    whole = derive(derivations(source, options, tmp_path / "whole")[0])
    (cut,) = derivations(source, options, tmp_path / "cut")
    with pytest.raises(KeyboardInterrupt):
        derive(cut, Stop())
    resumed = derive(cut)
    assert resumed["metrics"] == whole["metrics"] and resumed["config"] == whole["config"]
    assert not difference(weights(load(cut.folder)), weights(load(tmp_path / "whole" / cut.folder.name)))


def test_what_cannot_be_merged_is_refused(source: Path, tmp_path: Path) -> None:
    def said(raw: dict[str, Any], folder: Path = source) -> str:
        with pytest.raises(UserError) as caught:
            derivations(folder, raw, tmp_path)
        return str(caught.value)

    assert (
        "strategy 'ewc' cannot merge finished models; allowed: merge, patch, task_arithmetic, ties"
        in said({"strategy": "ewc"})
    )
    assert "'train' is that of the run itself" in said({"strategy": "ties", "train.lr": 1e-3})
    assert "derive needs the strategy that merges" in said({"strategy.weight": 1})
    assert "did you mean 'strategy.weight'" in said({"strategy": "ties", "strategy.wieght": 1})
    assert "holds no run" in said({"strategy": "ties"}, tmp_path / "nothing")
    copy = tmp_path / "unfinished"
    shutil.copytree(source, copy)
    result = read_json(copy / "result.json")
    (copy / "result.json").write_text(json.dumps({**result, "status": "running"}))
    assert "is running: finish it" in said({"strategy": "ties"}, copy)
    changed = {**result["fingerprints"], "data": "other"}
    (copy / "result.json").write_text(json.dumps({**result, "fingerprints": changed}))
    with pytest.raises(UserError, match="the data changed since"):
        derive(derivations(copy, {"strategy": "ties"}, tmp_path)[0])
