"""Strategies x seeds: one table from many runs, nothing repeated, a failure stops nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from clplat.errors import UserError
from clplat.sweep import compare
from clplat.tracking import comparison, from_results

TINY = {
    "scenario": {"name": "catalogue", "domains": 2, "train": 32, "queries": 20, "gallery": 20},
    "train": {"epochs": 1, "batch_size": 32},
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sweep")


def test_a_wrong_name_is_told_before_anything_runs(out: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'replay'"):
        compare(TINY, ["naive", "repaly"], [0], out, track=False)
    assert list(out.iterdir()) == []


def test_sweep_trials_and_seeds_in_mlflow_and_on_disk(out: Path) -> None:
    found = compare(TINY, ["frozen", {"name": "replay", "size": 8}], [0, 1], out)
    assert not found.failures and len(found.results) == 4
    assert sorted(p.parent.name for p in out.glob("*/result.json")) == [
        "frozen-s0",
        "frozen-s1",
        "replay-s0",
        "replay-s1",
    ]
    shown = {row["strategy"]: row for row in comparison(out)}
    assert {name: row["n"] for name, row in shown.items()} == {"frozen": 2, "replay": 2}
    direct = {row["strategy"]: row for row in from_results(found.results)}
    for name, row in shown.items():
        assert row["R5"] == pytest.approx(direct[name]["R5"], abs=1e-3)

    from clplat.tracking.store import open_client, tracking_uri

    client = open_client(tracking_uri(out))
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    levels = sorted(run.data.tags["clplat.level"] for run in runs)
    assert levels == ["seed"] * 4 + ["sweep"] + ["trial"] * 2
    parents = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in runs}
    by_level = {run.info.run_id: run.data.tags["clplat.level"] for run in runs}
    for run_id, level in by_level.items():
        above = {"seed": "trial", "trial": "sweep"}.get(level)
        assert (by_level[parents[run_id] or ""] if above else None) == above


def test_finished_runs_are_not_repeated(out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")}
    found = compare(TINY, ["frozen", {"name": "replay", "size": 8}], [0, 1], out)
    assert len(found.results) == 4
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/result.json")} == before


def test_two_processes_give_the_same_numbers_and_a_failure_stops_nobody(out: Path, tmp_path: Path) -> None:
    (tmp_path / "naive-s0").mkdir()
    (tmp_path / "naive-s0" / "thesis.txt").write_text("somebody's own file")
    wanted = ["naive", "frozen", {"name": "replay", "size": 8}]
    found = compare(TINY, wanted, [0], tmp_path, workers=2, track=False)
    assert list(found.failures) == ["naive s0"]
    assert "thesis.txt" in found.failures["naive s0"]
    import json

    for name in ("frozen-s0", "replay-s0"):
        here = json.loads((tmp_path / name / "result.json").read_text())
        there = json.loads((out / name / "result.json").read_text())
        assert here["metrics"] == there["metrics"]
