"""What MLflow costs a run, and how long a leaderboard of 600 runs takes to open.

* `clplat run` of the size of the demo, with and without tracking, in turns: seconds from its start to its
  end; into sqlite, then to an MLflow server here.
* The leaderboard in headless Chromium: from the start of the browser until its rows are in the page.

``python -m benchmarks.tracking`` prints the rows as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import row
from clplat.tracking import leaderboard_link
from clplat.tracking.server import HOST, _command, _environment, _stop, _wait_until_up, free_port
from clplat.tracking.store import open_client, open_experiment
from clplat.tracking.views import view_states, write_views

TURNS = 5
PAGES = 3
RUNS = 600
#: Seconds that the leaderboard may take.
LIMIT = 5.0
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WORDS = ("--strategy", "naive", "--scenario.domains", "5")


def seconds(folder: Path, track: bool, uri: str | None) -> float:
    """Of `clplat run`, from its start to its end."""
    command = [str(Path(sys.executable).with_name("clplat")), "run", *WORDS, "--out", str(folder)]
    env = os.environ | ({} if uri is None else {"MLFLOW_TRACKING_URI": uri})
    start = time.perf_counter()
    subprocess.run(
        command + ([] if track else ["--no-track"]), check=True, env=env, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def cost(where: Path, uri: str | None, what: str, limit: float) -> dict[str, Any]:
    """Tracked against untracked, in turns, after one run that fills the feature store."""
    seconds(where / "first", False, uri)
    taken = [
        (seconds(where / f"tracked{i}", True, uri), seconds(where / f"plain{i}", False, uri))
        for i in range(TURNS)
    ]
    ours, peer = (median(side) for side in zip(*taken, strict=True))
    note = "`clplat run` of naive on five domains, starting Python included; peer: --no-track"
    return row(f"a run tracked in {what}", ours, peer, f"<= {limit}x", note)


@contextmanager
def served(root: Path) -> Iterator[str]:
    """An MLflow server as `clplat ui` starts it."""
    port, log = free_port(0), root / "server.log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            _command(root, f"sqlite:///{root / 'mlflow.db'}", port),
            env=_environment(),
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
        try:
            _wait_until_up(process, port, log)
            yield f"http://{HOST}:{port}"
        finally:
            _stop(process)


def leaderboard(root: Path) -> dict[str, Any]:
    """600 runs of 20 methods, written as `clplat track` writes them but for their files; opened by link."""
    from mlflow.entities import Metric, Param, RunTag

    uri = f"sqlite:///{root / 'mlflow.db'}"
    client = open_client(uri)
    experiment = open_experiment(client, uri, "catalogue")
    names = [f"R5/domain {i}" for i in range(5)] + ["cl/R5", "cl/forget", "cl/bwt", "cl/fwt", "cl/zs"]
    for number in range(RUNS):
        label = f"method {number % 20}"
        tags = {"clplat.level": "seed", "clplat.label": label, "clplat.strategy": label}
        run_id = client.create_run(experiment, run_name=f"{label} s{number // 20}").info.run_id
        client.log_batch(
            run_id,
            metrics=[Metric(name, 50 + number % 20 + step, 0, step) for name in names for step in range(6)],
            params=[Param(f"option.{i}", str(number % 7)) for i in range(20)],
            tags=[RunTag(key, value) for key, value in tags.items()],
        )
        client.set_terminated(run_id)
    write_views(client, experiment, view_states("R5", [f"domain {i}" for i in range(5)]))
    with served(root) as url:
        taken = [browse(leaderboard_link(url, experiment), root / f"profile{i}") for i in range(PAGES + 1)]
    note = f"{RUNS} runs, ten metrics and 20 parameters each; peer: the seconds that it may take"
    return row("leaderboard, from starting the browser to rows", median(taken[1:]), LIMIT, "<= 1.0x", note)


def browse(link: str, profile: Path) -> float:
    """Seconds until Chromium, started anew with an empty profile, has the rows of ``link`` in its page."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--dump-dom"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    flags += [f"--user-data-dir={profile}", "--window-size=1600,1000", "--virtual-time-budget=5000"]
    start = time.perf_counter()
    page = subprocess.run([str(CHROMIUM), *flags, link], capture_output=True, text=True, timeout=300).stdout
    taken = time.perf_counter() - start
    if "Group: method 19" not in page:
        raise RuntimeError(f"the leaderboard shows no rows: {link}")
    return taken


def rows() -> list[dict[str, Any]]:
    """All rows of this benchmark; the leaderboard only where there is a Chromium."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "served").mkdir()
        (root / "board").mkdir()
        found = [cost(root / "sqlite", None, "sqlite", 1.02)]
        with served(root / "served") as url:
            found.append(cost(root / "http", url, "a server over HTTP", 1.05))
        return found + ([leaderboard(root / "board")] if CHROMIUM else [])


if __name__ == "__main__":
    print(json.dumps(rows(), indent=1))
