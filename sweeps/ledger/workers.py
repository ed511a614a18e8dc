"""Processes that do one job each: one that is killed, or takes too long, is a failure of its job alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from typing import Any

from clplat.files import write_json
from sweeps.ledger.jobs import Job, perform, state_of

__all__ = ["work_through"]


@dataclass
class _Running:
    process: Any
    job: Job
    begun: float


def work_through(jobs: Iterable[Job], workers: int, limit: float, say: Callable[[str], None]) -> None:
    """Do all jobs, ``workers`` at a time with a thread each.

    Args:
        limit: seconds after which a job is given up.
        say: gets a line when a job has ended.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    context: Any = multiprocessing.get_context("forkserver")  # imports are made once for all
    context.set_forkserver_preload(["clplat.runs.experiment", "sweeps.ledger.jobs", "open_clip"])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # which ends the processes of the jobs too
    waiting, running = iter(jobs), dict[int, _Running]()
    more = True
    while more or running:
        while more and len(running) < workers:
            job = next(waiting, None)
            more = job is not None
            if job is not None:
                process = context.Process(target=_child, args=(job,), daemon=True)
                process.start()
                running[process.sentinel] = _Running(process, job, time.monotonic())
        for sentinel in wait(list(running), timeout=1.0):
            _ended(running.pop(sentinel), say)  # type: ignore[arg-type]
        for one in running.values():
            if time.monotonic() - one.begun > limit:
                one.process.kill()


def _ended(one: _Running, say: Callable[[str], None]) -> None:
    one.process.join()
    state, seconds = state_of(one.job), time.monotonic() - one.begun
    if one.process.exitcode:
        why = f"its process ended with code {one.process.exitcode} after {seconds:.0f} s"
        state = {"fingerprint": one.job.fingerprint, "state": "failed", "why": why, "cpu_seconds": None}
        write_json(one.job.record, state)
    why = f": {state['why']}" if state.get("why") else ""
    say(f"{one.job.folder.parent.name} {one.job.label} {state['state']}, {seconds:.0f} s{why}")


def _child(job: Job) -> None:
    with suppress(KeyboardInterrupt):
        import torch

        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        perform(job)
