"""Logging in a process of its own: nothing waits, everything arrives, and a kill loses or doubles nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from clplat.tracking import Tracker, tracking_uri
from clplat.tracking.background import background_logger
from clplat.tracking.log_state import STATE_FILE
from clplat.tracking.store import open_client

Make = Callable[..., dict[str, Any]]
LONG = 1800.0  # seconds that `close` may wait on a busy machine


def logged(root: Path) -> list[Any]:
    client = open_client(tracking_uri(root))
    experiment = client.get_experiment_by_name("clplat/catalogue")
    return [] if experiment is None else list(client.search_runs([experiment.experiment_id]))


def steps(root: Path, run: Any) -> list[int]:
    client = open_client(tracking_uri(root))
    return [point.step for point in client.get_metric_history(run.info.run_id, "cl/R5")]


@contextmanager
def stopped_process() -> Iterator[int]:
    """The process that logs, which does nothing during the block."""
    process = background_logger().process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield process.pid
    finally:
        os.kill(process.pid, signal.SIGCONT)


def until(there: Callable[[], bool]) -> None:
    """Wait for what the process that logs does on its own, as long as it lives."""
    process = background_logger().process
    while not there():
        assert process is not None and process.poll() is None
        time.sleep(0.05)


def test_what_is_sent_is_there_when_the_tracker_is_closed(root: Path, make_result: Make) -> None:
    said: list[str] = []
    with Tracker(root, warn=said.append) as tracker:
        tracker.start_background()
        with stopped_process():  # sending does not wait
            for seed in (0, 1):
                tracker.log_async(make_result("replay", seed, rows=1), root / str(seed))
        for seed in (0, 1):
            for rows in (2, 3, 4, 5):
                tracker.log_async(make_result("replay", seed, rows=rows), root / str(seed))
        tracker.close(LONG)
    runs = logged(root)
    assert sorted(run.info.run_name for run in runs) == ["replay s0", "replay s1"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert [steps(root, run) for run in runs] == [[0, 1, 2, 3, 4]] * 2
    assert said == []
    ids = {run.info.run_id for run in runs}
    # `close` does not wait for figures.
    until(lambda: len(list(root.glob("mlartifacts/**/accuracy_matrix.png"))) == 2)
    assert Tracker(root).log(make_result("replay", 0), root / "0") in ids  # and by both ways there is one run


def test_a_sender_that_is_killed_loses_and_doubles_nothing(root: Path, make_result: Make) -> None:
    (root / "result.json").write_text(json.dumps(make_result("ewc", 0, rows=3)))
    code = (
        "import json, os, signal, sys; from pathlib import Path; from clplat.tracking import Tracker\n"
        "root = Path(sys.argv[1]); result = json.loads((root / 'result.json').read_text())\n"
        "Tracker(root).log_async(result, root / 'run'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(root)])
    assert done.returncode == -9
    Tracker(root).log(make_result("ewc", 0), root / "run")  # the rerun, while the message is on its way
    (run,) = logged(root)
    assert steps(root, run) == [0, 1, 2, 3, 4]


def test_a_run_that_goes_on_is_logged_with_pauses(root: Path, make_result: Make) -> None:
    folder, tracker = root / "0", Tracker(root)

    def rows_there() -> int:
        return int(json.loads((folder / STATE_FILE).read_text())["rows_logged"])

    def send(rows: int) -> None:
        tracker.log_async(make_result("ewc", 0, rows=rows), folder)

    def overtaken_by(seed: int) -> None:
        """Messages are logged in order, except one that is due later."""
        later = root / str(seed)
        tracker.log_async(make_result("ewc", seed), later)
        until((later / STATE_FILE).exists)

    send(1)
    tracker.close(LONG)
    send(2)
    send(3)
    overtaken_by(1)
    assert rows_there() == 1
    tracker.close(LONG)
    assert rows_there() == 3, "`close` ends the pause"
    send(4)
    overtaken_by(2)
    assert rows_there() == 3
    tracker.log_async(make_result("ewc", 0), folder)
    until(lambda: rows_there() == 5)  # a run that is over is logged at once
    (run,) = (run for run in logged(root) if run.info.run_name == "ewc s0")
    assert steps(root, run) == [0, 1, 2, 3, 4]


def test_failures_there_are_reported_here_once(
    root: Path, make_result: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    said: list[str] = []
    with Tracker(root, warn=said.append) as tracker:
        tracker.log_async(make_result("replay", 0), root / "0")
        tracker.log_async(make_result("replay", 1), root / "1")
    assert len(said) == 1
    assert "http://127.0.0.1:9" in said[0] and "clplat track" in said[0]


def test_a_process_that_dies_is_reported_and_replaced(root: Path, make_result: Make) -> None:
    said: list[str] = []
    tracker = Tracker(root, warn=said.append)
    tracker.start_background()
    with stopped_process() as process:
        tracker.log_async(make_result("replay", 0), root / "0")
        os.kill(process, signal.SIGKILL)
    tracker.close(LONG)
    assert len(said) == 1 and "the process that logs ended" in said[0]
    tracker.log_async(make_result("replay", 0), root / "0")
    tracker.close(LONG)
    (run,) = logged(root)
    assert run.info.status == "FINISHED"


def test_closing_takes_no_longer_than_it_may(root: Path, make_result: Make) -> None:
    said: list[str] = []
    tracker = Tracker(root, warn=said.append)
    tracker.start_background()
    with stopped_process():
        tracker.log_async(make_result("replay", 0), root / "0")
        tracker.close(0.0)
    assert "it took more than 0 s" in said[0]
    tracker.log_async(make_result("replay", 0), root / "0")
    tracker.close(LONG)
    assert len(logged(root)) == 1
