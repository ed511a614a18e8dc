"""Trials a minute: a study by two workers against the same study by one, which has both cores to itself.

Each side is a whole `clplat sweep` of twelve trials in a process of its own, starting up included, with the
pictures and frozen features at hand (an untimed study made them). Naive fine-tuning of all weights, so that a
trial computes and does not only read.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import once, row

TRIALS = 12
WORDS = (
    "--scenario.domains 3 --scenario.train 256 --scenario.queries 60 --scenario.gallery 120 --train.epochs 3 "
)
WORDS += (
    f"--strategies naive --controls frozen --search train.lr --sampler random --trials {TRIALS} --seeds 0"
)


def ours(which: str) -> Callable[[], object]:
    """The study; ``which`` is the number of workers, and a letter that tells repeated ones apart."""
    folder = Path(os.environ["CLPLAT_CACHE"], which)
    os.environ["CLPLAT_CACHE"] = str(folder.parent / "store")
    os.environ.pop("OMP_NUM_THREADS", None)  # the cores are divided among the workers
    command = [str(Path(sys.executable).with_name("clplat")), "sweep", *WORDS.split(), "--no-track"]
    command += ["--workers", which[0], "--out", str(folder)]
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def rows() -> list[dict[str, Any]]:
    once("workers", "2-first")
    two, _ = once("workers", "2")
    one, _ = once("workers", "1")
    note = f"{TRIALS} trials and the final runs, three domains, a run each; peer: one worker with both cores"
    return [row("sweep by two workers", two, one, 1.6, None, note)]
