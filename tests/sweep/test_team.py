"""The set-up of docs/team.md, by its own commands: MLflow over PostgreSQL on loopback, a sweep, the table."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from clplat.cli import _parser
from clplat.errors import UserError

PAGE = (Path(__file__).parents[2] / "docs" / "team.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^```sh\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
LINES = [line for block in COMMANDS for line in block.splitlines()]


def starting(*words: str) -> str:
    """The first command on the page that begins so."""
    return next(line for line in LINES if line.startswith(" ".join(words)))


@pytest.fixture(scope="module")
def served(
    postgres: Any, tmp_path_factory: pytest.TempPathFactory, unused_port: Callable[[], int]
) -> Iterator[str]:
    """MLflow as the page starts it, with our ports and folder in place of its own."""
    folder, port = tmp_path_factory.mktemp("mlflow"), unused_port()
    postgres.made("mlflow")
    command = starting("mlflow server")
    for theirs, ours in {
        "--port 5000": f"--port {port}",
        "127.0.0.1:5432": f"127.0.0.1:{postgres.port}",
        "/srv/mlflow/artifacts": str(folder / "artifacts"),
    }.items():
        assert theirs in command, command
        command = command.replace(theirs, ours)
    words = [sys.executable, "-m", *shlex.split(command)]
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*words, "--workers", "1"], stdout=log, stderr=log, env=environment, cwd=folder
        )
    url = f"http://127.0.0.1:{port}"
    try:
        while True:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                urllib.request.urlopen(f"{url}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_runs_metrics_and_artifacts_are_on_the_server(
    served: str, short_plan: Path, tmp_path: Path, begin: Callable[..., Any]
) -> None:
    out = tmp_path / "sweep"
    sweep = begin("sweep", "--plan", short_plan, "--out", out, "--workers", 2, MLFLOW_TRACKING_URI=served)
    said = sweep.communicate()[0]
    assert sweep.returncode == 0, said
    from clplat.tracking.store import open_client

    client = open_client(served)
    experiment = client.get_experiment_by_name("clplat/catalogue")
    assert experiment is not None and experiment.artifact_location.startswith("mlflow-artifacts:")
    runs = client.search_runs([experiment.experiment_id], max_results=100)
    seeds = [run for run in runs if run.data.tags["clplat.level"] == "seed"]
    assert sorted(run.data.params["strategy"] for run in seeds) == ["frozen", "frozen", "naive", "naive"]
    for run in seeds:
        assert run.info.status == "FINISHED" and "cl/R5" in run.data.metrics
        names = {entry.path for entry in client.list_artifacts(run.info.run_id)}
        assert {"result.json", "config", "figures"} <= names
    held = client.download_artifacts(seeds[0].info.run_id, "result.json", str(tmp_path))
    assert '"status"' in Path(held).read_text(encoding="utf-8")
    levels = [run.data.tags["clplat.level"] for run in runs]
    assert levels.count("sweep") == 1 and levels.count("trial") == 2
    assert not (out / "mlflow.db").exists(), "everything is on the server"

    table = begin("compare", "--out", out, MLFLOW_TRACKING_URI=served)
    said = table.communicate()[0]
    assert table.returncode == 0 and "naive" in said and "frozen" in said, said


def test_the_commands_of_the_page_are_accepted() -> None:
    """What the test above does not run: options that exist, extras that exist, and nothing on a network."""
    parser, _ = _parser()
    calls = [line for line in LINES if re.match(r"([A-Z_]+=\S+ )?clplat ", line)]
    assert len(calls) >= 4
    for line in calls:
        parser.parse_args(shlex.split(line.partition("clplat ")[2]))
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = re.findall(r"'clplat\[(\w+)\]'", PAGE)
    assert set(extras) == {"postgres", "ray", "slurm"}
    assert all(re.search(rf"^{extra} = \[", project, re.MULTILINE) for extra in extras)
    servers = [line for line in LINES if line.startswith("mlflow server")]
    assert len(servers) == 2 and all("--host 127.0.0.1" in line for line in servers)
    known = subprocess.run(
        [sys.executable, "-m", "mlflow", "server", "--help"], capture_output=True, text=True
    ).stdout
    assert all(option in known for line in servers for option in re.findall(r"--[a-z-]+", line))
    needs = yaml.safe_load(re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])
    assert needs["slurm_partition"] == "gpu"


def test_the_proxy_of_the_page_serves_postgresql(
    postgres: Any, tmp_path: Path, unused_port: Callable[[], int]
) -> None:
    from clplat.tuning.storage import open_storage

    port, where = unused_port(), postgres.made("optuna")
    words = shlex.split(starting("python -c"))
    code = words[2].replace("127.0.0.1:5432", f"127.0.0.1:{postgres.port}").replace("13000", str(port))
    assert code != words[2]
    process = subprocess.Popen([sys.executable, "-W", "ignore", words[1], code])
    try:
        while True:  # it imports for seconds before it listens
            try:
                proxy = open_storage(f"grpc://127.0.0.1:{port}", tmp_path)
                break
            except UserError:
                assert process.poll() is None
        from optuna.study import StudyDirection

        proxy.create_new_study([StudyDirection.MAXIMIZE], "through the proxy")
        assert [s.study_name for s in open_storage(where, tmp_path).get_all_studies()] == [
            "through the proxy"
        ]
    finally:
        process.kill()
        process.wait()
