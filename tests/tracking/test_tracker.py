"""Logging is idempotent and incremental, and no failure of MLflow reaches the experiment."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clplat.files import read_json, write_json
from clplat.tracking import Tracker, log_result, tracking_uri
from clplat.tracking.log_state import STATE_FILE
from clplat.tracking.store import open_client, open_experiment

Make = Callable[..., dict[str, Any]]


def folder_of(root: Path, result: dict[str, Any]) -> Path:
    folder = root / str(result["name"])
    folder.mkdir(exist_ok=True)
    return folder


def history(root: Path, run_id: str, metric: str) -> list[tuple[int, float]]:
    points = open_client(tracking_uri(root)).get_metric_history(run_id, metric)
    return [(point.step, point.value) for point in points]


def all_runs(root: Path, scenario: str = "catalogue") -> list[Any]:
    client = open_client(tracking_uri(root))
    return list(client.search_runs([client.get_experiment_by_name(f"clplat/{scenario}").experiment_id]))


def artifacts(root: Path, run_id: str, under: str | None = None) -> set[str]:
    client = open_client(tracking_uri(root))
    found = set()
    for item in client.list_artifacts(run_id, under):
        found |= artifacts(root, run_id, item.path) if item.is_dir else {item.path}
    return found


def test_a_complete_result(root: Path, make_result: Make) -> None:
    result = make_result("replay", 0)
    folder = folder_of(root, result)
    run_id = log_result(result, folder)
    assert run_id is not None
    run = open_client(tracking_uri(root)).get_run(run_id)
    assert run.info.run_name == "replay s0"
    assert run.info.status == "FINISHED"
    assert run.info.end_time - run.info.start_time >= 12_000  # as long as the experiment took
    assert run.data.params["strategy"] == "replay"
    assert run.data.params["strategy.size"] == "200"
    assert "backbone.pretrained" not in run.data.params
    tags = run.data.tags
    assert tags["clplat.level"] == "seed"
    assert tags["mlflow.runColor"] == "#0072b2"
    assert tags["clplat.folder"] == str(folder.resolve())
    assert tags["version.torch"] == "2.6.0"
    rows = result["metrics"]["R@5"]
    assert history(root, run_id, "R5/shoes") == [(i, round(row[0], 4)) for i, row in enumerate(rows)]
    assert [step for step, _ in history(root, run_id, "cl/forget")] == [2, 3, 4]
    assert history(root, run_id, "cost/train_M") == [(4, 0.1311)]
    assert history(root, run_id, "train/task") == [(10, 1.5), (20, 1.25)]
    files = {
        "result.json",
        "config/resolved.yaml",
        "tables/accuracy_matrix.json",
        "tables/compatibility.json",
    }
    names = ("accuracy_matrix", "compatibility", "forgetting_curves")
    assert artifacts(root, run_id) == files | {f"figures/{name}.png" for name in names}
    table = json.loads(
        (Path(root) / "mlartifacts/catalogue" / run_id / "artifacts/tables/accuracy_matrix.json").read_text()
    )
    assert table["columns"] == ["after", "on", "value"]
    assert table["data"][0] == ["zero-shot", "shoes", round(rows[0][0], 2)]
    assert len(table["data"]) == 20


def test_the_times_are_those_of_the_files(root: Path, make_result: Make) -> None:
    """However late it is logged, and several rows at once."""
    result = make_result("replay", 0)
    folder = folder_of(root, result)
    (folder / "values").mkdir()
    written = {f"values/{row}.safetensors": 1_700_000_000 + 60 * row for row in range(5)}
    for name, second in (written | {"result.json": 1_700_000_250}).items():
        (folder / name).touch()
        os.utime(folder / name, (second, second))
    run = open_client(tracking_uri(root)).get_run(log_result(result, folder))
    points = open_client(tracking_uri(root)).get_metric_history(run.info.run_id, "cl/R5")
    assert [point.timestamp // 1000 for point in points] == [1_700_000_000 + 60 * row for row in range(5)]
    assert run.info.end_time == 1_700_000_250_000
    assert 12_000 <= run.info.end_time - run.info.start_time < 60_000


def test_row_by_row_then_again_doubles_nothing(root: Path, make_result: Make) -> None:
    tracker = Tracker(root)
    whole = make_result("ewc", 1)
    folder = folder_of(root, whole)
    ids = {tracker.log(make_result("ewc", 1, rows=rows), folder) for rows in (1, 2, 3, 4)}
    running = whole | {"status": "running"}
    ids |= {tracker.log(running, folder), tracker.log(whole, folder), log_result(whole, folder)}
    assert len(ids) == 1
    (run,) = all_runs(root)
    assert [s for s, _ in history(root, run.info.run_id, "cl/R5")] == [0, 1, 2, 3, 4]
    assert len(history(root, run.info.run_id, "cost/sec")) == 1
    state = json.loads((folder / STATE_FILE).read_text())
    assert state["rows_logged"] == 5
    assert state["finished"] is True
    assert state["uri"] == tracking_uri(root)


def test_the_address_is_kept_without_its_password(
    root: Path, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an older release had kept it: the run goes on."""
    result = make_result("naive", 0, rows=1)
    folder = folder_of(root, result)
    for name in ("destination", "run_logging"):
        monkeypatch.setattr(f"clplat.tracking.{name}.without_password", lambda uri: "http://ann@lab")
    run_id = log_result(result, folder)
    state = read_json(folder / STATE_FILE)
    assert state["uri"] == "http://ann@lab"
    write_json(folder / STATE_FILE, state | {"run_id": None, "uri": "http://ann:secret@lab"})
    assert log_result(result, folder) == run_id


def test_figures_missing_after_a_kill_are_drawn_later(root: Path, make_result: Make) -> None:
    result = make_result("replay", 0)
    run_id = Tracker(root).log_metrics(result, folder_of(root, result))
    assert run_id is not None and all_runs(root)[0].info.status == "FINISHED"
    assert not [name for name in artifacts(root, run_id) if name.startswith("figures")]
    for _ in range(2):
        assert Tracker(root).log(result, folder_of(root, result)) == run_id
        assert {"figures/accuracy_matrix.png", "result.json"} <= artifacts(root, run_id)


def test_a_running_result_runs(root: Path, make_result: Make) -> None:
    result = make_result("ewc", 1, rows=2)
    log_result(result, folder_of(root, result))
    (run,) = all_runs(root)
    assert run.info.status == "RUNNING"
    assert "1 of 4 domains (running)" in run.data.tags["mlflow.note.content"]


@pytest.mark.parametrize("lost", ["run_id", "rows"])
def test_killed_between_the_store_and_the_state_file(root: Path, make_result: Make, lost: str) -> None:
    result = make_result("naive", 0, rows=3)
    folder = folder_of(root, result)
    log_result(result, folder)
    state = json.loads((folder / STATE_FILE).read_text())
    state |= {"run_id": None, "rows_logged": 0} if lost == "run_id" else {"rows_logged": 1}
    (folder / STATE_FILE).write_text(json.dumps(state))
    log_result(make_result("naive", 0), folder)
    (run,) = all_runs(root)
    assert [s for s, _ in history(root, run.info.run_id, "cl/R5")] == [0, 1, 2, 3, 4]


def test_failed_then_resumed(root: Path, make_result: Make) -> None:
    failed = make_result("ewc", 0, rows=2) | {
        "status": "failed",
        "failure": {"error": "loss is nan at step 9"},
    }
    folder = folder_of(root, failed)
    run_id = log_result(failed, folder)
    (run,) = all_runs(root)
    assert run.info.status == "FAILED"
    assert "loss is nan" in run.data.tags["mlflow.note.content"]
    assert log_result(make_result("ewc", 0, rows=3), folder) == run_id
    assert all_runs(root)[0].info.status == "RUNNING"
    log_result(make_result("ewc", 0), folder)
    (run,) = all_runs(root)
    assert run.info.status == "FINISHED"
    assert len(history(root, run.info.run_id, "cl/R5")) == 5
    assert len(history(root, run.info.run_id, "cost/sec")) == 1


def test_failed_before_the_first_row(root: Path, make_result: Make) -> None:
    nothing = {
        "status": "failed",
        "metrics": {},
        "scores": [],
        "compatibility": {},
        "failure": {"error": "nan"},
    }
    result = make_result("ewc", 0, rows=0) | nothing
    assert log_result(result, folder_of(root, result)) is not None
    assert all_runs(root)[0].info.status == "FAILED"


def test_a_deleted_run_and_a_reused_folder_start_new_ones(root: Path, make_result: Make) -> None:
    result = make_result("ewc", 0)
    folder = folder_of(root, result)
    first = log_result(result, folder)
    open_client(tracking_uri(root)).delete_run(first)
    second = log_result(result, folder)
    assert second != first
    third = log_result(make_result("naive", 0), folder)
    assert third not in (first, second)
    assert len(all_runs(root)) == 2


def test_grids_are_logged_once(root: Path, make_result: Make) -> None:
    result = make_result("ewc", 0, rows=2)
    folder = folder_of(root, result)
    (folder / "grids").mkdir()
    for step in (0, 1, 10):
        Image.new("RGB", (40, 30), "white").save(folder / "grids" / f"step_{step}.png")
    run_id = log_result(result, folder)
    log_result(result, folder)
    pictures = [path for path in artifacts(root, str(run_id)) if path.endswith(".png")]
    assert sorted(path.split("+step+")[1].split("+")[0] for path in pictures) == ["0", "1", "10"]
    kept = [path for path in (root / "mlartifacts").rglob("retrieval_grid+*.png")]
    assert {path.stat().st_ino for path in kept} == {p.stat().st_ino for p in (folder / "grids").iterdir()}


def test_a_sweep_shows_what_its_methods_find_side_by_side(root: Path, make_result: Make) -> None:
    from clplat.data.records import Item, Picture
    from clplat.retrieval_grid import draw_grid, save_picture

    def square(colour: str) -> Picture:
        return Picture(colour, lambda: Image.new("RGB", (40, 40), colour))

    tracker, grids, results = Tracker(root), {}, []
    for rank, name in enumerate(("replay", "ewc"), start=1):
        results.append(make_result(name, 0))
        folder = folder_of(root, results[-1])
        found = [(square("blue"), rank == 1), (square("green"), rank == 2)]
        sheet = draw_grid([("bags/eu", square("red"), "in blue", found)], [(Item("k", square("blue")), rank)])
        save_picture(sheet, folder / "grids" / "step_4.png")
        grids[f"{name} (tuned)"] = (name, folder / "grids")
    sweep = tracker.start_parent("catalogue", "sweep", "sweep")
    for _ in range(2):  # closed twice, logged once
        tracker.finish_parent(sweep, results=results, grids=grids)
    pictures = sorted(path for path in artifacts(root, str(sweep)) if path.startswith("images/"))
    assert [path.partition("+")[0] for path in pictures] == ["images/queries~bags_eu"] * 2
    client = open_client(tracking_uri(root))
    sizes = {Image.open(client.download_artifacts(str(sweep), path)).size for path in pictures}
    assert len(sizes) == 1 and min(sizes)[0] > 600  # what MLflow shows is no thumbnail
    state = client.get_experiment_by_name("clplat/catalogue").tags["mlflow.sharedViewState.queries"]
    assert "Queries, method by method" in state


def test_many_domains_and_parameters(root: Path, make_result: Make) -> None:
    result = make_result("ewc", 0, domains=[f"domain {i}" for i in range(350)], rows=2)
    result["config"]["many"] = {f"option{i}": "x" * 7000 for i in range(150)}
    run_id = log_result(result, folder_of(root, result))
    run = open_client(tracking_uri(root)).get_run(run_id)
    assert len(run.data.params) > 150
    assert len(run.data.metrics) > 1050


def test_sweep_trial_seed(root: Path, make_result: Make) -> None:
    top = Tracker(root)
    sweep = top.start_parent("catalogue", "a sweep with a name that is long", "sweep", key="it's one")
    assert top.start_parent("catalogue", "again", "sweep", key="it's one") == sweep
    trials = Tracker(root, level="trial", parent_run_id=sweep)
    everything = []
    for name in ("replay", "ewc"):
        trial = trials.start_parent("catalogue", name, "trial", params={"strategy": {"name": name}})
        seeds = Tracker(root, parent_run_id=trial)
        results = [make_result(name, seed) for seed in (0, 1)]
        for result in results:
            seeds.log(result, folder_of(root, result))
        trials.finish_parent(trial, results=results)
        trials.finish_parent(trial, results=results)
        everything += results
    said = "replay and ewc are indistinguishable"
    top.finish_parent(sweep, results=everything, metrics={"tune/best": 61.0}, note=said)
    runs = {run.info.run_name: run for run in all_runs(root)}
    assert set(runs) == {
        "a sweep with a name that",
        "replay",
        "ewc",
        "replay s0",
        "replay s1",
        "ewc s0",
        "ewc s1",
    }
    trial = runs["replay"]
    assert trial.data.tags["mlflow.parentRunId"] == sweep
    assert runs["replay s1"].data.tags["mlflow.parentRunId"] == trial.info.run_id
    seeds_of = [runs[f"replay s{seed}"].data.metrics["cl/R5"] for seed in (0, 1)]
    assert trial.data.metrics["cl/R5"] == pytest.approx(sum(seeds_of) / 2, abs=1e-4)
    assert trial.data.metrics["cl/R5_std"] == pytest.approx(abs(seeds_of[0] - seeds_of[1]) / 2**0.5, abs=1e-3)
    assert len(history(root, trial.info.run_id, "cl/R5")) == 5  # closed twice, logged once
    top_run = runs["a sweep with a name that"]
    assert top_run.data.metrics["tune/best"] == 61.0
    assert {"R5/replay", "R5/ewc"} <= set(top_run.data.metrics)
    shown = top_run.data.tags["mlflow.note.content"]  # the sweep's sentence, and no second one beside it
    assert shown.startswith(f"{said}\n\n|strategy") and "replay&emsp;" in shown and "best" not in shown
    assert "figures/trade_off.png" in artifacts(root, str(sweep))


def _open_experiment(uri: str, found: Any) -> None:
    found.put(open_experiment(open_client(uri), uri, "raced"))


def test_processes_that_race_share_one_experiment(root: Path) -> None:
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    racers = [context.Process(target=_open_experiment, args=(tracking_uri(root), found)) for _ in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
        assert racer.exitcode == 0
    assert len({found.get() for _ in racers}) == 1


def test_other_threads_may_log(root: Path, make_result: Make) -> None:
    tracker, ids = Tracker(root), []
    tracker.log(make_result("naive"), folder_of(root, make_result("naive")))
    result = make_result("ewc")
    thread = threading.Thread(target=lambda: ids.append(tracker.log(result, folder_of(root, result))))
    thread.start()
    thread.join()
    assert ids[0] is not None


def test_a_dead_server_costs_nothing_but_a_line(
    root: Path, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    said: list[str] = []
    result = make_result("replay", 0)
    folder = folder_of(root, result)
    slept: list[float] = []
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
        patch.setattr("time.sleep", slept.append)
        tracker = Tracker(root, warn=said.append)
        assert tracker.start_parent("catalogue", "sweep", "sweep") is None
        tracker.finish_parent(None, results=[result])
        for rows in (1, 3, 5):
            assert tracker.log(make_result("replay", 0, rows=rows), folder) is None
        assert Tracker(root, warn=said.append).log(result, folder) is None
    assert sum(slept) < 15, "between attempts"
    assert len(said) == 1
    assert "\n" not in said[0]
    assert "clplat track" in said[0]
    run_id = log_result(result, folder)  # the store is back
    assert run_id is not None
    assert len(history(root, run_id, "cl/R5")) == 5


def taken(hole: socket.socket) -> int:
    """How many connections wait for an answer; they are closed."""
    hole.setblocking(False)
    for count in itertools.count():
        try:
            hole.accept()[0].close()
        except BlockingIOError:
            return count
    raise AssertionError


def test_a_server_that_never_answers_is_asked_once(
    root: Path, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    said: list[str] = []
    with socket.socket() as hole:
        hole.bind(("127.0.0.1", 0))
        hole.listen()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{hole.getsockname()[1]}")
        tracker = Tracker(root, warn=said.append)
        result = make_result("replay", 0)
        assert tracker.log(result, folder_of(root, result)) is None
        assert taken(hole) > 0
        assert Tracker(root, warn=said.append).log(result, folder_of(root, result)) is None
        assert taken(hole) == 0
    assert len(said) == 1


def test_a_broken_state_file_or_picture_is_only_a_warning(root: Path, make_result: Make) -> None:
    said: list[str] = []
    result = make_result("replay", 0)
    folder = folder_of(root, result)
    (folder / STATE_FILE).write_text("{")
    assert Tracker(root, warn=said.append).log(result, folder) is None
    assert STATE_FILE in said[0]


def test_a_deleted_experiment_is_named(root: Path, make_result: Make) -> None:
    said: list[str] = []
    client = open_client(tracking_uri(root))
    client.delete_experiment(open_experiment(client, tracking_uri(root), "catalogue"))
    result = make_result("replay", 0)
    assert Tracker(root, warn=said.append).log(result, folder_of(root, result)) is None
    assert "'clplat/catalogue' is deleted" in said[0]


def test_the_users_store_wins(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracking_uri(root) == f"sqlite:///{root.resolve()}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.invalid")
    assert tracking_uri(root) == "http://example.invalid"
