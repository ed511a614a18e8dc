"""The comparison: the same rows from MLflow and from results, and what is said about them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clplat.errors import UserError
from clplat.files import write_json
from clplat.tables.comparison import markdown, plain
from clplat.tracking import Tracker, compared, comparison, from_results
from clplat.tracking.store import tracked
from clplat.trees import save_tree

Make = Callable[..., dict[str, Any]]


def test_mlflow_and_results_agree(root: Path, make_result: Make) -> None:
    results = [make_result(name, seed) for name in ("replay", "naive") for seed in (0, 1)]
    results += [make_result("ewc", 0, scenario="other"), make_result("ewc", 1, rows=3)]
    tracker = Tracker(root)
    for index, result in enumerate(results):
        folder = root / str(index)
        folder.mkdir()
        tracker.log(result, folder)
    rows = comparison(root)
    assert rows == from_results(results)
    assert [(row["scenario"], row["label"], row["n"]) for row in rows] == [
        ("catalogue", "replay", 2),
        ("catalogue", "naive", 2),
        ("other", "ewc", 1),
    ]
    assert comparison(root, "other") == rows[2:]
    with pytest.raises(UserError, match="did you mean 'catalogue'"):
        comparison(root, "catalog")


def test_means_and_sample_deviations(make_result: Make) -> None:
    results = [make_result("replay", seed) for seed in (0, 1, 2)]
    for result, value in zip(results, (10.0, 20.0, 30.0), strict=True):
        result["metrics"]["R@5"][-1] = [value] * 4
    (row,) = from_results(results)
    assert (row["R5"], row["R5_std"], row["score"], row["n"]) == (20.0, 10.0, 20.0, 3)
    assert row["trainable_M"] == 0.1311
    (one,) = from_results(results[:1])
    assert one["R5_std"] is None


def test_a_seed_that_ran_twice_counts_once_as_it_last_came_out(make_result: Make) -> None:
    first, again = make_result("replay", 0), make_result("replay", 0)
    again["metrics"]["R@5"][-1] = [1.0] * 4
    (row,) = from_results([first, again])
    assert (row["n"], row["R5"]) == (1, 1.0)


def test_namesakes_and_contexts_are_told_apart(make_result: Make) -> None:
    small = make_result("replay", 0, extra={"strategy": {"name": "replay", "size": 50}})
    labels = {row["label"] for row in from_results([make_result("replay", 0), small, make_result("ewc", 0)])}
    assert labels == {"replay size=200", "replay size=50", "ewc"}
    other = make_result("ewc", 0, extra={"backbone": {"name": "ViT-B-32"}})
    labels = {row["label"] for row in from_results([make_result("naive", 0), other])}
    assert labels == {"naive backbone=clplat-tiny", "ewc backbone=ViT-B-32"}


def test_a_run_without_the_tags_of_its_method_is_named(root: Path, make_result: Make) -> None:
    (root / "0").mkdir()
    run_id = Tracker(root).log(make_result("replay", 0), root / "0")
    with tracked(root) as (client, _):
        client.delete_tag(run_id, "clplat.variant")
    with pytest.raises(
        UserError, match=f"^MLflow's run {run_id} is no run of clplat: it lacks 'clplat.variant'$"
    ):
        comparison(root)


def _logged(root: Path, result: dict[str, Any], hits: float, start: float = 0.3, folder: str = "") -> Path:
    """A run whose folder holds what its queries measured: before training, and at the end."""
    where = root / (folder or result["name"])
    where.mkdir()
    result["fingerprints"]["queries"] = f"test split {result['config']['seed']}"
    luck = np.random.default_rng(result["config"]["seed"]).random((2, 400))
    for version, level in ((0, start), (len(result["scores"]) - 1, hits)):
        values = {name: torch.from_numpy((luck[i] < level).astype("float32")) for i, name in enumerate("ab")}
        save_tree(where / "values" / f"{version}.safetensors", values)
    write_json(where / "result.json", result)
    Tracker(root).log(result, where)
    return where


def test_the_sentence_is_that_of_a_sweep(root: Path, make_result: Make) -> None:
    levels = {"replay": 0.7, "ewc": 0.701, "naive": 0.5, "cumulative": 0.8}
    for name, level in levels.items():
        for seed in (0, 1, 2):
            _logged(root, make_result(name, seed), level)
    rows, said = compared(root)
    assert [row["n"] for row in rows] == [3] * 4
    assert said.startswith(
        "On catalogue: ewc and replay are indistinguishable (Holm, 5 %); ewc has the highest"
    )
    assert "below the bound (cumulative); all above naive. Above the untrained model: all." in said


def test_runs_that_are_not_here_are_not_compared(root: Path, make_result: Make) -> None:
    _logged(root, make_result("replay", 0), 0.7)
    shutil.rmtree(_logged(root, make_result("ewc", 0), 0.7))
    said = compared(root)[1]
    assert "replay reaches" in said and "One seed" in said
    assert said.endswith("Not compared, because their folders are not on this machine: ewc.")
    assert compared(root, "catalogue")[1] == said


def test_tables_show_the_same_and_fit_a_terminal(make_result: Make) -> None:
    names = ("frozen", "naive", "replay", "ewc", "cumulative")
    rows = from_results([make_result(name, seed) for name in names for seed in (0, 1)])
    text = plain(rows)
    assert max(map(len, text.splitlines())) <= 80
    for row in rows:
        number = f"{row['R5']:.1f}±{row['R5_std']:.1f}"
        assert all(number in shown and row["label"] in shown for shown in (text, markdown(rows)))
    assert "cumulative (bound)" in text
    assert "\x1b" not in text


def test_a_primary_metric_of_its_own_gets_a_column(make_result: Make) -> None:
    result = make_result("replay")
    result["protocol"]["primary"] = "mAP@10"
    assert "mAP@10" in plain(from_results([result])).splitlines()[0]


def test_nothing_tracked_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="no runs are tracked in"):
        comparison(tmp_path)
    assert not (tmp_path / "mlflow.db").exists()


def test_an_empty_store_gives_no_rows(root: Path) -> None:
    assert comparison(root) == []


def test_a_dead_server_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="does not answer"):
        comparison(tmp_path)
