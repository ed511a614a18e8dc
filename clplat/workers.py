"""Run several experiments, one after the other or in a few processes that share the machine's cores."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.errors import UserError
from clplat.events import Listener

__all__ = ["Job", "run_jobs"]


@dataclass(frozen=True)
class Job:
    """One experiment: what it is called on screen, its resolved configuration and its folder."""

    label: str
    config: dict[str, Any]
    folder: Path


_QUEUE: Any = None


class _Forward(Listener):
    """Sends every event to the parent process, which owns the terminal and the tracker."""

    def __init__(self, index: int) -> None:
        self.index = index

    def _send(self, name: str, *values: Any) -> None:
        _QUEUE.put((self.index, name, values))

    def started(self, result: dict[str, Any]) -> None:
        self._send("started", result)

    def progress(self, experience: int, done: int, total: int) -> None:
        if done % 5 == 0:
            self._send("progress", experience, done, total)

    def cell(self, row: int, column: int, metrics: dict[str, float]) -> None:
        self._send("cell", row, column, metrics)

    def row(self, result: dict[str, Any]) -> None:
        self._send("row", result)

    def finished(self, result: dict[str, Any]) -> None:
        self._send("finished", result)

    def note(self, text: str) -> None:
        self._send("note", text)


def _begin(queue: Any, threads: int) -> None:
    global _QUEUE
    _QUEUE = queue
    import torch

    torch.set_num_threads(threads)


def _work(index: int, job: Job) -> dict[str, Any]:
    from clplat.experiment import run

    return run(job.config, job.folder, listener=_Forward(index))


def run_jobs(
    jobs: Sequence[Job], listen: Callable[[int, Job], Listener], workers: int = 1
) -> list[dict[str, Any] | UserError]:
    """Run all jobs; a job that fails gives its error and does not stop the others.

    Args:
        listen: called with each job's index before it begins; its listener lives in this process.
        workers: processes; the machine's cores are divided among them. 1 runs everything here.
    """
    if workers <= 1:
        return [_here(index, job, listen) for index, job in enumerate(jobs)]
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    threads = max(1, (os.cpu_count() or 1) // workers)
    listeners = {index: listen(index, job) for index, job in enumerate(jobs)}
    pump = threading.Thread(target=_pump, args=(queue, listeners), daemon=True)
    pump.start()
    # Threads of the numerical libraries are fixed before a worker imports them.
    held = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _begin, (queue, threads))
        with pool:
            futures: dict[Future[dict[str, Any]], int] = {
                pool.submit(_work, i, job): i for i, job in enumerate(jobs)
            }
            found: dict[int, dict[str, Any] | UserError] = {}
            pending = set(futures)
            while pending:
                ready, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in ready:
                    try:
                        found[futures[future]] = future.result()
                    except UserError as error:
                        found[futures[future]] = error
    finally:
        queue.put(None)
        pump.join()
        if held is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = held
    return [found[index] for index in range(len(jobs))]


def _here(index: int, job: Job, listen: Callable[[int, Job], Listener]) -> dict[str, Any] | UserError:
    from clplat.experiment import run

    try:
        return run(job.config, job.folder, listener=listen(index, job))
    except UserError as error:
        return error


def _pump(queue: Any, listeners: dict[int, Listener]) -> None:
    while (event := queue.get()) is not None:
        index, name, values = event
        getattr(listeners[index], name)(*values)
