"""Synthetic results and a store that is migrated once per session (2 s), then copied."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Result = dict[str, Any]
DOMAINS = ["shoes", "lamps", "chairs", "bags"]
# name -> (gain when trained, loss per step afterwards)
TEMPERS = {
    "frozen": (0.0, 0.0),
    "naive": (22.0, 7.0),
    "replay": (20.0, 2.2),
    "ewc": (15.0, 4.0),
    "cumulative": (24.0, -0.3),
}


def synthetic(
    strategy: str = "replay",
    seed: int = 0,
    *,
    rows: int | None = None,
    domains: list[str] | None = None,
    scenario: str = "catalogue",
    extra: dict[str, Any] | None = None,
) -> Result:
    """A result as `docs/architecture.md` describes it, after ``rows`` rows (all of them by default)."""
    domains = DOMAINS if domains is None else domains
    count, dice = len(domains), random.Random(f"{strategy}-{seed}")
    gain, loss = TEMPERS.get(strategy, (18.0, 3.0))
    primary = [[38.0 + 3 * j + dice.gauss(0, 0.3) for j in range(count)]]
    for i in range(count):
        row = list(primary[-1])
        row = [
            v - loss + dice.gauss(0, 0.4) if j < i else v + (0.5 if loss else 0.0) for j, v in enumerate(row)
        ]
        row[i] = primary[0][i] + gain + dice.gauss(0, 0.5)
        primary.append(row)
    done = count + 1 if rows is None else rows
    matrix = [
        [0.9 * primary[i][min(j, count - 1)] if j <= i else None for j in range(count + 1)]
        for i in range(done)
    ]
    scores: list[dict[str, float | None]] = []
    for i in range(done):
        earlier = [max(primary[t][j] for t in range(j + 1, i + 1)) - primary[i][j] for j in range(i - 1)]
        forgetting = sum(earlier) / len(earlier) if earlier else None
        scores.append(
            {
                "acc_last": sum(primary[i]) / count,
                "forgetting_max": forgetting,
                "zs_lost": 0.0 if i else None,
                "bwt": None if forgetting is None else -forgetting,
                "fwt_init": 0.5 if i > 1 else None,
                "AC": 0.5 if i else None,
                "zs_retention": 100 - max(loss, 0) * i,
                "plasticity": sum(primary[j + 1][j] for j in range(i)) / i if i else None,
            }
        )
    complete = done == count + 1
    scaled = {"R@1": 0.5, "R@5": 1.0, "mAP@10": 0.7}
    return {
        "schema": 1,
        "status": "complete" if complete else "running",
        "name": f"{strategy}-{seed}",
        "command": f"clplat run --strategy {strategy} --seed {seed}",
        "config": {
            "scenario": {"name": scenario, "domains": count},
            "backbone": {"name": "clplat-tiny", "pretrained": None},
            "adapter": {"name": "full"},
            "prompt": {"name": "none"},
            "composer": {"name": "combiner"},
            "strategy": {"name": strategy, "size": 200} if strategy == "replay" else {"name": strategy},
            "train": {"epochs": 2, "lr": 0.001},
            "seed": seed,
            **(extra or {}),
        },
        "domains": list(domains),
        "protocol": {
            "name": "original",
            "primary": "R@5",
            "ks": [1, 5],
            "galleries": dict.fromkeys(domains, 90),
        },
        "metrics": {name: [[s * v for v in row] for row in primary[:done]] for name, s in scaled.items()},
        "tags": {"combination=seen": {"R@5": [[v, *[None] * (count - 1)] for v, *_ in primary[:done]]}},
        "baselines": {
            "image_only": {"R@5": [[12.0] * count] * done},
            "text_only": {"R@5": [[21.0] * count] * done},
        },
        "ties": [[0] * count] * done,
        "probes": {"general-retrieval": {"R@1": [50 - 0.5 * max(loss, 0) * i for i in range(done)]}},
        "compatibility": {"R@5": matrix},
        "scores": scores,
        "cost": {"trainable_parameters": 131072, "total_parameters": 4_200_000, "exemplar_bytes": 0},
        "fingerprints": {"data": "d" * 64, "weights": "e" * 64, "code": "f" * 64},
        "training": {"step": [10, 20], "task": [1.5, 1.25], "penalty": [None, 0.5]},
        "measured": {
            "train_seconds": 10.5 + seed,
            "evaluation_seconds": 2.0,
            "peak_memory_bytes": 310_000_000,
        },
        "failure": None,
        "versions": {"python": "3.11", "torch": "2.6.0"},
    }


@pytest.fixture(scope="session")
def make_result() -> Callable[..., Result]:
    return synthetic


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty database."""
    from clplat.tracking.store import DATABASE, open_client

    path = tmp_path_factory.mktemp("template") / DATABASE
    open_client(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs with an empty store in it, and an environment that is ours."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(template, tmp_path / template.name)
    return tmp_path


_FIGURES: dict[str, Path] = {}


@pytest.fixture(autouse=True)
def figures_drawn_once(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """In this process, all runs after the first one show its figures: drawing takes longer than logging."""
    from clplat.tracking import artifacts

    log_figures = artifacts.log_figures

    def log(client: Any, run_id: str, drawn: dict[str, Any]) -> None:
        for name, figure in drawn.items():
            if name in _FIGURES:
                client.log_artifact(run_id, str(_FIGURES[name]), "figures")
                continue
            log_figures(client, run_id, {name: figure})
            _FIGURES[name] = tmp_path_factory.mktemp("figure") / f"{name}.png"
            figure.savefig(_FIGURES[name])

    def once(draw: Callable[..., Any]) -> Callable[..., Any]:
        name = {"accuracy_heatmap": "accuracy_matrix", "domain_curves": "forgetting_curves"}
        key = name.get(draw.__name__, "compatibility")
        return lambda *given, **named: None if key in _FIGURES else draw(*given, **named)

    monkeypatch.setattr(artifacts, "log_figures", log)
    for name in ("accuracy_heatmap", "domain_curves", "compatibility_heatmap"):
        monkeypatch.setattr(artifacts, name, once(getattr(artifacts, name)))


@pytest.fixture(autouse=True)
def forget_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test may report a dead store anew, and starts without the HTTP limits that another one set."""
    from clplat.tracking import failures

    failures._reported.clear()
    failures._paused_until.clear()
    for name in ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)


@dataclass(frozen=True)
class Live:
    """A real MLflow server on the loopback interface, started as `clplat ui` starts it."""

    url: str
    said: list[str]


@pytest.fixture(scope="session")
def live(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("served")
    shutil.copy(template, folder / template.name)
    code = (
        "import sys; from pathlib import Path; from clplat.tracking.server import serve\n"
        "serve(Path(sys.argv[1]), 0, say=lambda line: print(line, flush=True))"
    )
    env = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True, env=env
    )
    assert process.stdout is not None
    said: list[str] = []
    for line in process.stdout:
        said.append(line.strip())
        if line.startswith("Ctrl-C"):
            break
    match = re.search(r"http://127\.0\.0\.1:\d+", " ".join(said))
    assert match, f"the server did not start: {said}; see {folder / 'mlflow-server.log'}"
    yield Live(match.group(0), said)
    process.terminate()
    process.wait()
    with pytest.raises(OSError):  # nothing lives on after `kill`
        socket.create_connection(("127.0.0.1", int(match.group(0).rsplit(":", 1)[1])), timeout=1).close()
