"""Eight workers, two hundred short trials, twenty kill -9 at random: nothing lost, doubled or hung."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TextIO

import pytest

from clplat.files import read_json
from clplat.sweep import read_sweep
from clplat.sweep.layout import Layout
from clplat.sweep.queue import Queue
from clplat.sweep.studies import FINALS
from clplat.tuning.storage import open_storage

CALL = "import sys; from clplat.cli import main; sys.exit(main(sys.argv[1:]))"


def workers_of(parent: int) -> list[int]:
    """The processes of a sweep that carry trials: children of its fork server."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout
    table = [line.split(None, 2) for line in listed.splitlines()[1:]]
    servers = {int(pid) for pid, above, args in table if int(above) == parent and "forkserver" in args}
    return [int(pid) for pid, above, _ in table if int(above) in servers]


def kill_some(process: subprocess.Popen[str], kills: int, log: TextIO, dice: random.Random) -> int:
    """Kill a random worker each time some rows are there, until that was enough; how often it was done.

    A row tells that work goes on, so that a kill meets a trial and not an import.
    """
    done, rows = 0, dice.randint(1, 8)
    assert process.stdout is not None
    for line in process.stdout:
        log.write(line)
        rows -= "after 1" in line
        if rows == 0:
            found = workers_of(process.pid)
            if found:
                os.kill(dice.choice(found), signal.SIGKILL)
                done += 1
            if done == kills:
                break
            rows = dice.randint(4, 8)
    return done


@pytest.mark.slow
def test_kills_cost_nothing(small_backbone: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    words = "--scenario.domains 2 --scenario.train 16 --scenario.queries 10 --scenario.gallery 20 "
    words += "--scenario.size 16 --train.epochs 1 --train.batch_size 8 --adapter none --composer combiner "
    words += "--strategies naive,ewc --controls frozen --trials 100 --tune train.lr --sampler random "
    words += f"--seeds 0 --workers 8 --no-track --backbone local-dir:{small_backbone} --out {out}"
    command = [sys.executable, "-c", CALL, "sweep", *words.split()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    dice = random.Random(0)
    with log.open("w") as sink:
        for call in (1, 2):
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env=environment,
                start_new_session=True,
            )
            assert kill_some(process, 10, sink, dice) == 10, "the kills met the end of the sweep"
            if call == 1:  # the whole command is killed as well, once
                os.killpg(process.pid, signal.SIGKILL)
            sink.write(process.communicate()[0])
    assert process.returncode == 0, log.read_text()[-2000:]

    queue = Queue(Layout(read_sweep(out / "sweep.yaml")), out, open_storage(None, out))
    assert not queue.has_pending()
    outcome = read_json(out / "sweep.json")
    assert outcome["status"] == "complete" and outcome["failures"] == []
    returned = 0
    for entry in queue.layout.studies:
        trials = queue.studies.trials(entry.key)
        assert Counter(t.state.name for t in trials) == {"COMPLETE": 100}
        numbers = [t.user_attrs.get("continues", t.number) for t in trials]
        assert len(set(numbers)) == 100, "a trial was run twice"
        for trial, number in zip(trials, numbers, strict=True):
            result = read_json(out / "trials" / entry.key / str(number) / "result.json")
            assert result["status"] == "complete"
            assert result["config"]["train"]["lr"] == trial.params["train.lr"], (
                "values and folder belong together"
            )
        everything = queue.studies.records(entry.key)
        returned += sum(bool(t.user_attrs.get("returned")) for t in everything)
    finals = queue.studies.trials(FINALS)
    names = [t.user_attrs["final"] for t in finals]
    assert sorted(names) == sorted(set(names)) and len(names) == sum(r["n"] for r in outcome["rows"])
    assert returned >= 5, "the kills did not meet trials at work"
    assert not re.findall("Traceback", log.read_text())
