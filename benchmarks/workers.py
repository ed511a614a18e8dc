"""Trials a minute: a study by two workers, a core each, against the same study by one.

One with a core as well: what the workers cost each other (the queue, the store, memory). One with both cores:
what there is to gain here, which is less the better a training uses two threads.

Each side is a whole `clplat sweep` in a process of its own, with the pictures and frozen features on disk (an
untimed study made them). Naive fine-tuning of all weights, so that a trial computes and does not only read.
Counted is the time from the beginning of the first trial to the end of the last run, as the storage has it;
starting up is the same for both.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import once, row
from clplat.tuning.storage import open_storage

TRIALS = 16
ALONE = "1 on one core"
WORDS = (
    "--scenario.domains 3 --scenario.train 256 --scenario.queries 60 --scenario.gallery 120 --train.epochs 3 "
)
WORDS += f"--strategies naive --controls frozen --tune train.lr --sampler random --trials {TRIALS} --seeds 0"


def ours(which: str) -> Callable[[], None]:
    """The study; ``which`` is the number of workers, and what tells sides with equal ones apart."""
    folder = Path(os.environ["CLPLAT_CACHE"], which)
    os.environ["CLPLAT_CACHE"] = str(folder.parent / "store")
    os.environ.pop("OMP_NUM_THREADS", None)  # the cores are divided among the workers
    cores = {0} if which == ALONE else os.sched_getaffinity(0)
    command = [str(Path(sys.executable).with_name("clplat")), "sweep", *WORDS.split(), "--no-track"]
    command += ["--workers", which[0], "--out", str(folder)]

    def run() -> None:
        os.sched_setaffinity(0, cores)  # of this process, which does nothing else, and of those it starts
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    return run


def seconds_a_trial(which: str) -> float:
    """What a finished sweep needed for a trial or a final run."""
    out = Path(os.environ["CLPLAT_CACHE"], which)
    storage = open_storage(None, out)
    studies = storage.get_all_studies()
    trials = [trial for study in studies for trial in storage.get_all_trials(study._study_id)]
    begun = [trial.datetime_start for trial in trials if trial.datetime_start is not None]
    ended = [trial.datetime_complete for trial in trials if trial.datetime_complete is not None]
    return (max(ended) - min(begun)).total_seconds() / len(ended)


def rows() -> list[dict[str, Any]]:
    for which in ("2-first", "2", "1", ALONE):
        once("workers", which)
    two, both, alone = (seconds_a_trial(which) for which in ("2", "1", ALONE))
    note = f"{TRIALS} trials and the final runs, three domains: seconds a run; peer: one worker with"
    return [
        row("sweep by two workers, a core each", two, alone, ">= 1.6x", f"{note} one core"),
        row("sweep by two workers instead of one", two, both, "reported", f"{note} both cores"),
    ]
