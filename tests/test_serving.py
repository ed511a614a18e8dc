"""A champion out of the registry: searched by the command line, loaded by MLflow, served over HTTP."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from clplat.cli import main
from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.files import read_json
from clplat.runs.experiment import run
from clplat.search import search
from clplat.serving import Served
from clplat.tracking import Tracker, tracking_uri
from clplat.tracking.server import free_port

MODEL = "models:/clplat-catalogue@champion"
TEXTS = ["in green, with long sleeves", "in red"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def store(small_backbone: Path, tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """A folder with one tracked run, whose last version is the champion."""
    root = tmp_path_factory.mktemp("store")
    config = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", "domains": 2, "train": 16, "queries": 8, "gallery": 20, "size": 16},
        "train": {"epochs": 1, "batch_size": 8},
        "strategy": "naive",
        "adapter": "lora",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        result = run(config, root / "naive")
        tracker = Tracker(root)
        assert tracker.log(result, root / "naive")
        assert tracker.set_champion(root / "naive", "catalogue") == "clplat-catalogue"
    return root


@pytest.fixture(scope="module")
def served(store: Path) -> Any:
    """The model as a user's own code loads it."""
    import mlflow

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", tracking_uri(store))
        before = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(tracking_uri(store))
        yield mlflow.pyfunc.load_model(MODEL)
        mlflow.set_tracking_uri(before)


def frame(*references: str) -> Any:
    from pandas import DataFrame

    return DataFrame({"reference": references, "text": TEXTS[: len(references)]})


def test_a_row_a_query_as_the_search_finds_it(served: Any, store: Path, tmp_path: Path) -> None:
    pictures, _ = _searcher(served).gallery()
    name = _searcher(served).domains[1]
    found = served.predict(frame(pictures[0].key, pictures[5].key), params={"k": 3, "domain": name})
    assert list(found.columns) == ["keys", "cosines"] and len(found) == 2
    for row, (picture, text) in zip(
        found.itertuples(), zip((pictures[0], pictures[5]), TEXTS, strict=True), strict=True
    ):
        expected = search(store / "naive", picture.key, text, domain=name, k=3)
        assert row.keys == [p.key for p in expected.pictures]
        assert row.cosines == pytest.approx(expected.scores, abs=1e-5)
    assert len(served.predict(frame(pictures[0].key))["keys"][0]) == 10
    # The same picture as a file and as base64: an answer each, the same one.
    pictures[0].picture.load().save(tmp_path / "picture.png")
    content = base64.b64encode((tmp_path / "picture.png").read_bytes()).decode()
    first, second = (
        served.predict(frame(way), params={"k": 4})["keys"][0]
        for way in (str(tmp_path / "picture.png"), content)
    )
    assert first == second and len(first) == 4


def _searcher(served: Any) -> Any:
    model = served._model_impl
    assert isinstance(model, Served)
    return model.searcher


def test_mistakes_of_a_query_are_reported(served: Any) -> None:
    with pytest.raises(UserError, match="neither a picture file nor the key"):
        served.predict(frame("nothing.png"))
    with pytest.raises(UserError, match="unknown domain 'x'"):
        served.predict(frame(_searcher(served).gallery()[0][0].key), params={"domain": "x"})
    with pytest.raises(UserError, match="no column 'text'"):
        Served(_searcher(served)).predict(frame("a")[["reference"]])


def test_the_command_line_searches_with_a_registered_model(
    store: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    key = keys_of(store)[0]
    words = ["--reference", key, "--text", TEXTS[0], "--k", "4", "--grid", str(tmp_path / "grid.png")]
    assert main(["search", "--run", str(store / "naive"), *words]) == 0
    by_run = capsys.readouterr().out
    for model in (MODEL, "models:/clplat-catalogue/1"):
        assert main(["search", "--model", model, "--out", str(store), *words]) == 0
        shown = capsys.readouterr()
        assert shown.out == by_run and shown.err == ""
    for wrong, part in (
        ("models:/clplat-catalogue@best", "alias best not found"),
        ("catalogue", "models:/NAME"),
    ):
        assert main(["search", "--model", wrong, "--out", str(store), *words]) == 2
        told = capsys.readouterr().err
        assert part in told and told.count("\n") == 1
    assert main(["search", "--model", MODEL, "--out", str(tmp_path), *words]) == 2
    assert "no runs are tracked in" in capsys.readouterr().err
    assert main(["search", *words]) == 2
    assert main(["search", "--model", MODEL, "--model-version", "1", *words]) == 2


def keys_of(store: Path) -> list[str]:
    """Keys of gallery pictures of the run in ``store``."""
    from clplat.runs.assembly import assemble

    parts = assemble(resolve(read_json(store / "naive" / "result.json")["config"]))
    return [picture.key for picture in parts.evaluator.sets[0].gallery.pictures]


@pytest.mark.slow
def test_mlflow_serves_it_over_http(store: Path) -> None:
    """Slow: the server loads torch and MLflow in a process of its own."""
    port = free_port(0)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", MODEL, "--env-manager", "local"]
    env = {**os.environ, "MLFLOW_TRACKING_URI": tracking_uri(store), "MLFLOW_DISABLE_TELEMETRY": "true"}
    # MLflow starts its server by the name `python`.
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    log = (store / "serve.log").open("wb")
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)],
        env=env,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        url = f"http://127.0.0.1:{port}"
        while not _answers(f"{url}/ping"):
            assert process.poll() is None, (store / "serve.log").read_text()[-2000:]
            time.sleep(0.5)
        key = keys_of(store)[0]
        query = {"columns": ["reference", "text"], "data": [[key, TEXTS[0]]]}
        body = json.dumps({"dataframe_split": query, "params": {"k": 3}}).encode()
        request = urllib.request.Request(f"{url}/invocations", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            (found,) = json.load(reply)["predictions"]
        expected = search(store / "naive", key, TEXTS[0], k=3)
        assert found["keys"] == [picture.key for picture in expected.pictures]
        assert found["cosines"] == pytest.approx(expected.scores, abs=1e-5)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)
        log.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except OSError:
        return False
