"""Eight workers, two hundred short trials, twenty kill -9 at random: nothing lost, doubled or hung."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

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


class Killer(threading.Thread):
    """Kills a random worker now and then until it has killed enough."""

    def __init__(self, parent: int, kills: int, log: Path) -> None:
        super().__init__(daemon=True)
        self.parent, self.left, self.log = parent, kills, log
        self.dice = random.Random(0)
        self.over = threading.Event()

    def run(self) -> None:
        while self.left and not self.over.wait(self.dice.uniform(1.0, 4.0)):
            # Not before work has begun, so that a kill meets a trial and not an import.
            found = workers_of(self.parent) if "after 1" in self.log.read_text() else []
            if found:
                os.kill(self.dice.choice(found), signal.SIGKILL)
                self.left -= 1


@pytest.mark.slow
def test_kills_cost_nothing(small_backbone: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "out", tmp_path / "log"
    words = "--scenario.domains 2 --scenario.train 16 --scenario.queries 10 --scenario.gallery 20 "
    words += "--scenario.size 16 --train.epochs 1 --train.batch_size 8 --adapter none --composer combiner "
    words += "--strategies naive,ewc --controls frozen --trials 100 --tune train.lr --sampler random "
    words += f"--seeds 0 --workers 8 --no-track --backbone local-dir:{small_backbone} --out {out}"
    command = [sys.executable, "-c", CALL, "sweep", *words.split()]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    kills, calls = 20, 0
    while kills or calls == 0:
        with log.open("w") as sink:
            process = subprocess.Popen(
                command, stdout=sink, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
            killer = Killer(process.pid, kills, log)
            killer.start()
            if calls == 0:  # the whole command is killed as well, once
                while killer.left > kills // 2 and process.poll() is None:
                    time.sleep(0.2)
                os.killpg(process.pid, signal.SIGKILL)
            code = process.wait(timeout=1500)
            killer.over.set()
            killer.join()
            kills, calls = killer.left, calls + 1
        if code == 0:
            break
    assert code == 0, log.read_text()[-2000:]

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
