"""Whole sweeps on a stream of seconds: workers that die, failures, Ctrl-C, pruning, what is left on disk."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from clplat.cli import main
from clplat.errors import UserError
from clplat.files import read_json
from clplat.sweep import Budget, Sweep, read_sweep
from clplat.sweep.layout import Layout
from clplat.sweep.queue import Queue
from clplat.sweep.run import gather, run_sweep
from clplat.sweep.worker import listening
from clplat.tables.sweep import sweep_table
from clplat.tables.text import aligned, markdown
from clplat.tracking.also_sweep import AlsoSweep
from clplat.tracking.listeners.csv import CsvWriter
from clplat.tracking.sweeps import SweepTracker
from clplat.tuning.storage import open_storage

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def base(small_backbone: Path) -> dict[str, Any]:
    sizes = {"domains": 2, "train": 16, "queries": 20, "gallery": 20, "size": 16}
    return {
        "backbone": {"name": f"local-dir:{small_backbone}"},
        "scenario": {"name": "catalogue", **sizes},
        "train": {"epochs": 1, "batch_size": 8},
    }


@pytest.fixture(scope="module")
def tuned(base: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A tracked sweep of two methods with two trials each and two seeds, by two workers."""
    out = tmp_path_factory.mktemp("sweep") / "tuned"
    sweep = Sweep(
        name="small",
        question="Does it run?",
        base=base,
        methods=["naive", {"name": "replay", "size": 8}],
        controls=["frozen"],
        tune=["train.lr"],
        space={"train.lr": [1e-4, 3e-3]},
        seeds=[0, 1],
        budget=Budget(trials=2),
        constraints={"trainable_parameters": 1e9},
        figure={"kind": "bars", "y": ["final"]},
    )
    return out, run_sweep(sweep, out, workers=2, tracker=SweepTracker, command="clplat sweep of a test")


def test_rows_trials_and_files(tuned: tuple[Path, dict[str, Any]]) -> None:
    out, outcome = tuned
    assert outcome["status"] == "complete" and outcome["failures"] == []
    kinds = {(row["method"], row["kind"]) for row in outcome["rows"]}
    wanted = {("naive", "default"), ("replay", "default"), ("frozen", "control")}
    assert wanted <= kinds and kinds - wanted <= {("naive", "tuned"), ("replay", "tuned")}
    for row in outcome["rows"]:
        finals = [read_json(out / folder / "result.json") for folder in row["folders"]]
        scores = [sum(r["metrics"]["R@5"][-1]) / 2 for r in finals]
        assert row["n"] == 2 and row["score"]["mean"] == pytest.approx(sum(scores) / 2)
        assert row["score"]["low"] <= row["score"]["mean"] <= row["score"]["high"]
        assert all(r["protocol"]["split"] == "test" for r in finals)
        assert {tuple(r["domains"]) for r in finals} == {
            ("dress-studio", "top-sketch"),
            ("top-sketch", "dress-studio"),
        }
        assert row["feasible"] is True
        assert all(row["label"] in shown(*sweep_table(outcome)) for shown in (aligned, markdown))
    for study in outcome["studies"]:
        assert [trial["state"] for trial in study["trials"]] == ["complete"] * 2
        assert study["spent"]["trials"] == 2 and study["spent"]["tflops"] >= 0
        for trial in study["trials"]:
            held = read_json(out / trial["folder"] / "result.json")
            assert held["protocol"]["split"] == "val"
            assert trial["values"] == [pytest.approx(sum(held["metrics"]["R@5"][-1]) / 2)]
    done = sum(row["n"] for row in outcome["rows"]) + sum(len(s["trials"]) for s in outcome["studies"])
    kept = 4 - len([row for row in outcome["rows"] if row["kind"] == "tuned"]) * 2  # the default was the best
    assert Layout(read_sweep(out / "sweep.yaml")).jobs == done + kept, "what the terminal counts to"
    families = {c["family"] for c in outcome["comparisons"]}
    assert "contenders" in families and outcome["sentence"]
    assert (out / "report.html").stat().st_size > 1000 and (out / "figure.png").exists()
    assert read_json(out / "sweep.json") == json.loads(json.dumps(outcome))
    assert read_sweep(out / "sweep.yaml").question == "Does it run?"
    assert multiprocessing.active_children() == []


def test_the_same_call_repeats_nothing_and_gather_finds_the_same(
    tuned: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, outcome = tuned
    before = {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}
    assert run_sweep(read_sweep(out / "sweep.yaml"), out, command=outcome["command"]) == outcome
    assert {path: path.stat().st_mtime_ns for path in out.rglob("result.json")} == before
    assert gather(out) == outcome
    assert main(["report", str(out)]) == 0
    assert "report.html" in capsys.readouterr().out


def test_levels_and_parents_in_mlflow(tuned: tuple[Path, dict[str, Any]]) -> None:
    from clplat.tracking.store import open_client, tracking_uri

    out, outcome = tuned
    client = open_client(tracking_uri(out))
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    level = {run.info.run_id: run.data.tags["clplat.level"] for run in runs}
    finals = sum(len(row["folders"]) for row in outcome["rows"])
    counted = {name: list(level.values()).count(name) for name in set(level.values())}
    assert counted == {"sweep": 1, "study": 2, "trial": 4 + len(outcome["rows"]), "seed": finals}
    for run in runs:
        above = level.get(run.data.tags.get("mlflow.parentRunId", ""))
        wanted = {"sweep": {None}, "study": {"sweep"}, "trial": {"study", "sweep"}, "seed": {"trial"}}
        assert above in wanted[level[run.info.run_id]]
        assert run.info.status == "FINISHED"
    top = next(run for run in runs if level[run.info.run_id] == "sweep")
    assert outcome["sentence"] in top.data.tags["mlflow.note.content"]
    assert {"report.html", "figure.png", "sweep.json"} <= {
        item.path for item in client.list_artifacts(top.info.run_id)
    }


PART = """
import os, signal, time
from pathlib import Path
from clplat.training.strategy import Strategy
class Dies(Strategy):
    'Its process ends in the second experience as long as there is a mark.'
    def __init__(self, mark: str = '', how: str = 'kill') -> None:
        self.mark, self.how = mark, how
    def before_experience(self, learner, experience):
        if experience.current_experience == 1 and Path(self.mark).exists():
            if self.how == 'once':
                Path(self.mark).unlink()
            if self.how in ('kill', 'once'):
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == 'exit':
                os._exit(3)
            if self.how == 'wait':
                while Path(self.mark).exists():
                    time.sleep(0.05)
                return
            raise RuntimeError('a defect')
"""


@pytest.fixture
def dying(base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sweep]:
    (tmp_path / "clplat_test_dies.py").write_text(PART)
    monkeypatch.syspath_prepend(tmp_path)

    def make(*kinds: str) -> Sweep:
        methods: dict[str, Any] = {}
        for kind in kinds:
            mark = tmp_path / f"mark-{kind}"
            mark.write_text("")
            methods[kind] = {
                "strategy": {"name": "clplat_test_dies:Dies", "mark": str(mark), "how": kind}
                if kind in ("kill", "once", "exit", "defect", "wait")
                else "naive"
            }
            if kind == "nan":
                methods[kind]["train"] = {**base["train"], "lr": 1e30, "clip": None, "schedule": "constant"}
        return Sweep(base=base, methods=methods, controls=[], seeds=[0])

    return make


def test_what_happens_to_one_run_does_not_stop_the_others(
    dying: Callable[..., Sweep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep, out = dying("kill", "nan", "defect", "once", "fine"), tmp_path / "out"
    outcome = run_sweep(sweep, out, workers=2)
    why = {failure["label"]: failure["why"] for failure in outcome["failures"]}
    assert set(why) == {"kill s0", "nan s0", "defect s0"}
    assert "killed 5 times (out of memory?)" in why["kill s0"]
    assert "the loss is not finite" in why["nan s0"] and "versions/0.safetensors" in why["nan s0"]
    assert "RuntimeError: a defect" in why["defect s0"]
    assert "a defect" in (out / "defect-s0" / "error.txt").read_text()
    assert {row["method"] for row in outcome["rows"]} == {"once", "fine"}
    assert outcome["status"] == "complete", "what failed is told and done with"
    rows = {row["method"]: row for row in outcome["rows"]}
    assert rows["once"]["score"] == rows["fine"]["score"], "it went on from its checkpoint, to the same bits"
    assert "was killed by signal 9" in capsys.readouterr().out
    assert multiprocessing.active_children() == []

    for mark in tmp_path.glob("mark-*"):
        mark.unlink()
    again = run_sweep(sweep, out, workers=1)
    assert [failure["label"] for failure in again["failures"]] == ["nan s0"]


def test_an_interrupted_sweep_loses_nothing(
    dying: Callable[..., Sweep], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is interrupted while one run waits in the second experience, as long as there is a mark.

    The same command goes on in this process, whose workers have made their imports in other tests.
    """
    out, plan = tmp_path / "out", tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump(dying("wait", "fine").as_dict()))
    call = "import sys; from clplat.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["sweep", "--plan", str(plan), "--no-track", "--workers", "2", "--out", str(out)]
    command = [sys.executable, "-c", call, *words]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "wait s0" in line and "after 1" in line:
            break
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
    _, said = process.communicate()
    assert process.returncode == 130 and "run the same command again" in said
    rows = {p: len(read_json(p)["scores"]) for p in out.glob("*/result.json")}
    assert rows and max(rows.values()) >= 2
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(out) not in processes, "a worker lives on"
    (tmp_path / "mark-wait").unlink()
    assert main(words) == 0
    told = capsys.readouterr().out
    assert read_json(out / "sweep.json")["status"] == "complete"
    assert "2 rows known" in told or "3 rows known" in told or "mean R@5" in told
    queue = Queue(Layout(read_sweep(out / "sweep.yaml")), out, open_storage(None, out))
    assert {t[-1].state.name for t in queue.studies.final_tries().values()} == {"COMPLETE"}


@pytest.mark.slow
def test_a_dying_fork_server_costs_nothing(
    dying: Callable[..., Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies while a worker is started, and again while two are at work, one of which dies afterwards."""
    from multiprocessing import forkserver

    read, begun = forkserver.read_signed, list[int]()

    def dies_once(sentinel: int) -> int:
        begun.append(sentinel)
        if len(begun) == 1:
            raise EOFError("unexpected EOF")
        return read(sentinel)

    def listen(terminal: Any, tracker: Any) -> Any:
        def begin(job: Any) -> Any:
            if not server:
                server.append(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]
                os.kill(server[0], signal.SIGKILL)
            return listening(terminal, tracker)(job)

        server: list[int] = []
        return begin

    monkeypatch.setattr(forkserver, "read_signed", dies_once)
    monkeypatch.setattr("clplat.sweep.run.listening", listen)
    outcome = run_sweep(dying("once", "fine"), tmp_path / "out", workers=2)
    assert outcome["failures"] == [] and {row["method"] for row in outcome["rows"]} == {"once", "fine"}
    assert len(begun) >= 4 and multiprocessing.active_children() == []


def test_where_no_process_can_be_started_that_is_said(
    base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(sentinel: int) -> int:
        raise EOFError("unexpected EOF")

    monkeypatch.setattr("multiprocessing.forkserver.read_signed", dies)
    with pytest.raises(UserError, match=r"no worker could be started \(EOFError: unexpected EOF\)"):
        run_sweep(Sweep(base=base, methods=["frozen"], controls=[], seeds=[0]), tmp_path / "out", workers=2)


@pytest.fixture(scope="module")
def elsewhere(base: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep without MLflow that two workers run and that is written elsewhere."""
    out = tmp_path_factory.mktemp("elsewhere") / "out"
    before = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    sweep = Sweep(base=base, methods=["frozen"], controls=[], seeds=[0, 1])
    write = CsvWriter.write

    def failing(writer: CsvWriter, result: dict[str, Any]) -> None:
        if len(result["scores"]) == 1:
            raise OSError(28, "No space left on device")
        write(writer, result)

    with pytest.MonkeyPatch.context() as patch:  # that costs no run, and the next row writes what is missing
        patch.setattr(CsvWriter, "write", failing)
        outcome = run_sweep(sweep, out, workers=2, tracker=AlsoSweep("csv,tensorboard"))
    after = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    assert before == after, "threads of the parent stay as they were"
    assert outcome["failures"] == []
    return out


def test_every_run_of_a_sweep_is_written_elsewhere_as_well(elsewhere: Path) -> None:
    results = sorted(elsewhere.glob("*/result.json"))
    assert len(results) == 2 and not (elsewhere / "mlflow.db").exists()
    for path in results:
        lines = list(csv.DictReader((path.parent / "metrics.csv").read_text().splitlines()))
        assert [line["after"] for line in lines] == ["", *read_json(path)["domains"]]
        assert len(list((path.parent / "tensorboard").glob("*tfevents*"))) == 1
