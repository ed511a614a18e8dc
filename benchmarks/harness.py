"""Timing things side by side, and the peak memory of one of them in a process of its own.

A benchmark is a module with ``rows()``, a plain dict for each claim. One that wants the memory of its own
side has ``ours(which)`` too, which returns the call that is measured, everything that it needs ready.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
#: Of torch, in every process that measures.
THREADS = 2
REPEATS = 5


def in_turns(*calls: Callable[[], object], repeats: int = REPEATS) -> list[float]:
    """Median seconds of each call, all of them in turns, after one round that does not count."""
    spent: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 1):
        for seconds, call in zip(spent, calls, strict=True):
            start = time.perf_counter()
            call()
            if turn:
                seconds.append(time.perf_counter() - start)
    return [median(seconds) for seconds in spent]


def row(
    what: str, ours: float, peer: float, target: str, note: str, peak_mb: float | None = None
) -> dict[str, Any]:
    """A claim.

    Args:
        what: is done, in words.
        ours: seconds.
        peer: seconds for the same amount of it.
        target: ``>= 2,000x``, of ``peer / ours``; ``<= 1.02x``, of ``ours / peer``; or ``reported``.
        note: sizes, and what the peer does.
        peak_mb: resident memory of our side.
    """
    sign, _, limit = target.partition(" ")
    ratio = ours / peer if sign == "<=" else peer / ours
    bound = float(limit.rstrip("x").replace(",", "")) if limit else 0.0
    print(f"{what}: {ratio:.3g}x", file=sys.stderr, flush=True)
    return {
        "what": what,
        "ours_seconds": ours,
        "peer_seconds": peer,
        "ratio": ratio,
        "target": target,
        "met": ratio <= bound if sign == "<=" else ratio >= bound,
        "peak_mb": peak_mb,
        "note": note,
    }


def peak_megabytes(module: str, which: str) -> float:
    """As `once` says."""
    return once(module, which)[1]


def once(module: str, which: str) -> tuple[float, float]:
    """A fresh process makes the call ``module.ours(which)``: its seconds, and the peak of resident memory."""
    seconds, megabytes = json.loads(child("once", module, which))
    return seconds, megabytes


def child(*arguments: str) -> str:
    """What ``python -m benchmarks.harness`` prints last; what goes wrong there is shown."""
    threads = {"OMP_NUM_THREADS": str(THREADS)}
    command = [sys.executable, "-m", "benchmarks.harness", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | threads, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip().rpartition("\n")[2]


def resident_peak() -> float:
    """In megabytes. Linux's ru_maxrss would count what the parent held when it started this process."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on a Mac


def main(task: str, module: str, *which: str) -> None:
    """``rows MODULE`` prints its rows as one line of JSON, ``once MODULE WHICH`` seconds and megabytes.

    A module's processes share a feature store of their own, which begins empty.
    """
    import torch

    torch.set_num_threads(THREADS)
    benchmark = importlib.import_module(f"benchmarks.{module}")
    if task == "rows":
        with tempfile.TemporaryDirectory() as store:
            os.environ["CLPLAT_CACHE"] = store
            print(json.dumps(benchmark.rows()))
    else:
        call = benchmark.ours(*which)
        start = time.perf_counter()
        call()
        print(json.dumps([time.perf_counter() - start, resident_peak()]))


if __name__ == "__main__":
    main(*sys.argv[1:])
