"""Data sets as inputs, versions as LoggedModels, the champion: each once, whatever happens in between."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clplat.errors import UserError
from clplat.runs.run_folder import VERSION_ELSEWHERE
from clplat.tracking import Tracker, tracking_uri
from clplat.tracking import models as tracking_models
from clplat.tracking.log_state import STATE_FILE
from clplat.tracking.models import download
from clplat.tracking.store import open_client

Make = Callable[..., dict[str, Any]]


def folder_of(root: Path, result: dict[str, Any], versions: int = 5) -> Path:
    """A run's folder with this many versions, which here are only bytes."""
    folder = root / str(result["name"])
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    for version in range(versions):
        (folder / "versions" / f"{version}.safetensors").write_bytes(bytes([version]) * 100)
    return folder


def models_of(root: Path) -> list[Any]:
    client = open_client(tracking_uri(root))
    found = client.search_logged_models([client.get_experiment_by_name("clplat/catalogue").experiment_id])
    return sorted(found, key=lambda model: int(model.params["trained"]))


def test_every_experience_and_split_is_an_input_once(root: Path, make_result: Make) -> None:
    result = make_result("replay", 0)
    result["protocol"] |= {"split": "val", "queries": dict.fromkeys(result["domains"], 30)}
    folder = folder_of(root, result)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_id = Tracker(root).log(make_result("replay", 0, rows=2), folder)
        Tracker(root).log(result, folder)
    run = open_client(tracking_uri(root)).get_run(str(run_id))
    inputs = {(i.dataset.name, i.tags[0].value): i.dataset for i in run.inputs.dataset_inputs}
    assert len(run.inputs.dataset_inputs) == len(inputs) == 2 * len(result["domains"])
    assert {context for _, context in inputs} == {"train", "eval"}
    assert len({data.digest for data in inputs.values()}) == len(inputs)
    assert json.loads(inputs["catalogue/shoes", "eval"].profile) == {"galleries": 90}
    assert run.data.tags["clplat.split"] == "test"  # of the first result that was logged


def test_versions_become_models_with_the_metrics_of_their_row(root: Path, make_result: Make) -> None:
    result = make_result("replay", 0)
    folder = folder_of(root, result)
    tracker = Tracker(root)
    for rows in (1, 2, 4):
        tracker.log(make_result("replay", 0, rows=rows), folder)
    run_id = tracker.log(result, folder)
    assert tracker.log(result, folder) == run_id
    found = models_of(root)
    assert [model.name for model in found] == [f"replay s0 v{row}" for row in (1, 2, 3, 4)]
    assert {str(model.status) for model in found} == {"READY"}
    for row, model in enumerate(found, start=1):
        value = next(metric.value for metric in model.metrics if metric.key == "R5/shoes")
        assert value == round(result["metrics"]["R@5"][row][0], 4)
        assert model.tags["clplat.after"] == result["domains"][row - 1]
        assert model.params["strategy"] == "replay"
    run = open_client(tracking_uri(root)).get_run(str(run_id))
    assert {output.step for output in run.outputs.model_outputs} == {1, 2, 3, 4}


def test_trials_of_a_study_leave_no_models(root: Path, make_result: Make) -> None:
    result = make_result("replay", 0)
    assert Tracker(root, level="trial").log(result, folder_of(root, result))
    assert models_of(root) == []


@pytest.mark.parametrize("lost", ["id", "files"])
def test_killed_while_a_model_was_made(root: Path, make_result: Make, lost: str) -> None:
    result = make_result("naive", 0, rows=3)
    folder = folder_of(root, result)
    Tracker(root).log(result, folder)
    state = json.loads((folder / STATE_FILE).read_text())
    if lost == "id":
        state["models"]["2"] = ""
    state["ready"] = ["1"]
    (folder / STATE_FILE).write_text(json.dumps(state))
    Tracker(root).log(make_result("naive", 0), folder)
    found = models_of(root)
    assert [model.params["trained"] for model in found] == ["1", "2", "3", "4"]
    assert {str(model.status) for model in found} == {"READY"}


def test_the_champion_is_registered_once_and_comes_back(
    root: Path, tmp_path_factory: pytest.TempPathFactory, make_result: Make
) -> None:
    tracker = Tracker(root)
    folders = []
    for seed in (0, 1):
        result = make_result("replay", seed)
        folders.append(folder_of(root, result))
        tracker.log(result, folders[-1])
    for folder, version in ((folders[0], 1), (folders[0], 1), (folders[1], 2), (folders[0], 1)):
        assert tracker.set_champion(folder, "catalogue") == "clplat-catalogue"
        client = open_client(tracking_uri(root))
        assert int(client.get_model_version_by_alias("clplat-catalogue", "champion").version) == version
    assert len(client.search_model_versions("name = 'clplat-catalogue'")) == 2
    for name in ("models:/clplat-catalogue@champion", "models:/clplat-catalogue/2"):
        where = download(name, tracking_uri(root), tmp_path_factory.mktemp("got"))
        assert (where / "versions" / "4.safetensors").read_bytes() == bytes([4]) * 100
        assert (where / "config.yaml").read_text() == "seed: 0\n"
        assert "clplat.serving" in (where / "MLmodel").read_text()


def test_registry_pages_say_what_it_is_how_good_and_what_it_takes(
    root: Path, tmp_path_factory: pytest.TempPathFactory, make_result: Make
) -> None:
    result = make_result("replay", 0)
    folder = folder_of(root, result)
    (folder / "result.json").write_text(json.dumps(result))
    tracker = Tracker(root)
    tracker.log(result, folder)
    tracker.set_champion(folder, "catalogue")
    client = open_client(tracking_uri(root))
    name, score = "clplat-catalogue", sum(result["metrics"]["R@5"][-1]) / 4
    assert "models:/clplat-catalogue@champion" in client.get_registered_model(name).description
    said = client.get_model_version(name, "1").description
    wanted = [
        f"{score:.2f} %",
        "shoes > lamps > chairs > bags",
        "torch 2.6.0",
        "clplat-tiny",
        '"text": "in red"',
    ]
    assert [words for words in wanted if words not in said] == []
    where = download("models:/clplat-catalogue@champion", tracking_uri(root), tmp_path_factory.mktemp("got"))
    assert (where / "requirements.txt").read_text() == "torch==2.6.0\n"
    from mlflow.models import Model

    example = Model.load(str(where)).load_input_example(str(where))
    assert example.to_dict("records") == [{"reference": "", "text": "in red"}]


def test_a_version_is_on_the_disk_once(root: Path, make_result: Make) -> None:
    """The store's copy is another name of the run's file."""
    result = make_result("replay", 0)
    folder = folder_of(root, result)
    Tracker(root).log(result, folder)
    kept = [path for path in (root / "mlartifacts").rglob("*.safetensors")]
    assert sorted(path.name for path in kept) == [f"{row}.safetensors" for row in range(1, 5)]
    assert all(path.samefile(folder / "versions" / path.name) for path in kept)


def test_a_large_version_is_named_and_not_copied(
    root: Path, tmp_path_factory: pytest.TempPathFactory, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking_models, "LIMIT_BYTES", 10)
    result = make_result("replay", 0, rows=2)
    folder = folder_of(root, result)
    tracker = Tracker(root)
    tracker.log(result, folder)
    tracker.set_champion(folder, "catalogue")
    where = download("models:/clplat-catalogue@champion", tracking_uri(root), tmp_path_factory.mktemp("got"))
    assert not (where / "versions").exists()
    assert (where / VERSION_ELSEWHERE).read_text() == str(folder.resolve() / "versions" / "1.safetensors")


def test_no_champion_without_a_model(root: Path, make_result: Make) -> None:
    said: list[str] = []
    result = make_result("replay", 0)
    (root / "run").mkdir()
    tracker = Tracker(root, warn=said.append)
    tracker.log(result, root / "run")
    assert tracker.set_champion(root / "run", "catalogue") is None
    assert "no model was logged from" in said[0]


@pytest.mark.parametrize(
    ("model", "part"),
    [
        ("clplat-catalogue", "a model is models:/NAME@champion or models:/NAME/VERSION"),
        ("models:/nothing@champion", "no model 'models:/nothing@champion'"),
        ("models:/clplat-catalogue@best", "alias best not found"),
        ("models:/clplat-catalogue/7", "no model 'models:/clplat-catalogue/7'"),
    ],
)
def test_wrong_models_are_one_line(root: Path, make_result: Make, model: str, part: str) -> None:
    result = make_result("replay", 0, rows=2)
    folder = folder_of(root, result)
    tracker = Tracker(root)
    tracker.log(result, folder)
    tracker.set_champion(folder, "catalogue")
    with pytest.raises(UserError) as caught:
        download(model, tracking_uri(root), root / "got")
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(UserError, match="no runs are tracked in"):
        download("models:/clplat-catalogue@champion", tracking_uri(tmp_path), tmp_path / "got")
    with pytest.raises(UserError, match="no model"):
        download("models:/clplat-catalogue@champion", "http://127.0.0.1:9", tmp_path / "got")
