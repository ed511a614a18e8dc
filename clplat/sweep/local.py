"""Run several experiments, one after the other or in a few processes that share the machine's cores."""

from __future__ import annotations

import copy
import multiprocessing
import os
import queue
import signal
import sys
import threading
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from clplat.claim import RESULT
from clplat.errors import UserError
from clplat.events import Listener
from clplat.files import read_json, write_text

__all__ = ["Job", "run_jobs"]


@dataclass(frozen=True)
class Job:
    """One experiment: what it is called on screen, its resolved configuration and its folder."""

    label: str
    config: dict[str, Any]
    folder: Path


def run_jobs(
    jobs: Sequence[Job], listen: Callable[[int, Job], Listener], workers: int = 1
) -> list[dict[str, Any] | UserError]:
    """Run all jobs; a job that fails gives its error and does not stop the others.

    A job whose process dies is such a failure too: run it again and it goes on from its last checkpoint.

    Args:
        listen: called with each job's index before it begins; its listener lives in this process.
        workers: processes; the machine's cores are divided among them. 1 runs everything here.
    """
    if workers <= 1 or len(jobs) <= 1:
        return [_run(job, listen(index, job)) for index, job in enumerate(jobs)]
    found: dict[int, dict[str, Any] | UserError] = {}
    listeners: dict[int, Listener] = {}
    waiting, busy = deque(range(len(jobs))), dict[Any, _Worker]()
    with _hiring(jobs, min(workers, len(jobs))) as hire:
        idle = [hire() for _ in range(min(workers, len(jobs)))]
        while len(found) < len(jobs):
            while waiting and idle:
                worker = idle.pop()
                worker.index = waiting.popleft()
                listeners[worker.index] = listen(worker.index, jobs[worker.index])
                busy[worker.pipe] = worker
                worker.begin(jobs[worker.index])
            for pipe in wait(list(busy)):
                worker = busy[pipe]
                name, values = worker.receive()
                if name in ("result", "error"):
                    found[worker.index] = values if name == "result" else UserError(values)
                    del busy[pipe]
                    if worker.alive:
                        idle.append(worker)
                        continue
                    _report_dead(jobs[worker.index], listeners[worker.index], values)
                    idle += [hire()] if waiting else []
                else:
                    getattr(listeners[worker.index], name)(*values)
    return [found[index] for index in range(len(jobs))]


def _run(job: Job, listener: Listener) -> dict[str, Any] | UserError:
    from clplat.experiment import run

    try:
        return run(job.config, job.folder, listener=listener)
    except UserError as error:
        return error
    except Exception as error:  # a defect of one part must not take the other experiments with it
        report = job.folder / "error.txt"
        write_text(report, traceback.format_exc())
        return UserError(f"{type(error).__name__}: {error} (this is a defect; details in {report})")


def _report_dead(job: Job, listener: Listener, reason: str) -> None:
    """Tell the listener that an experiment ended which could not do so itself."""
    if (job.folder / RESULT).exists():
        held = read_json(job.folder / RESULT)
        listener.finished({**held, "status": "failed", "failure": {"error": reason}})


class _Worker:
    """A process that takes one job after another, as its parent sees it."""

    def __init__(self, context: Any, threads: int) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, threads))
        self.process.start()
        theirs.close()
        self.index = -1
        self.alive = True

    def begin(self, job: Job) -> None:
        with suppress(OSError):  # a process that died while idle is noticed when it is listened to
            self.pipe.send(job)

    def receive(self) -> tuple[str, Any]:
        """The next message: an event, the ``result``, or the ``error`` that ended the job."""
        try:
            message: tuple[str, Any] = self.pipe.recv()
            return message
        except (EOFError, OSError):
            self.alive = False
            self.process.join()
            code = self.process.exitcode
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            memory = " (out of memory?)" if code == -signal.SIGKILL else ""
            return "error", f"its process {how}{memory}; run the same command again to go on"


@contextmanager
def _hiring(jobs: Sequence[Job], size: int) -> Iterator[Callable[[], _Worker]]:
    """Yields a function that starts a process; all of them end with the block."""
    # Imports take most of a start: the fork server makes them once for all. What touched CUDA cannot fork.
    cuda = any(str(job.config.get("device")).startswith("cuda") for job in jobs)
    context: Any = multiprocessing.get_context("spawn" if cuda else "forkserver")
    if not cuda:
        context.set_forkserver_preload(["clplat.experiment"])
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, cores // size)
    held = os.environ.get("OMP_NUM_THREADS")
    # Threads of the numerical libraries are fixed before a process imports them.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    hired: list[_Worker] = []

    def hire() -> _Worker:
        hired.append(_Worker(context, threads))
        return hired[-1]

    try:
        yield hire
    finally:
        for worker in hired:
            worker.process.terminate()
        for worker in hired:
            worker.process.join()
            worker.pipe.close()
        if held is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        else:
            os.environ["OMP_NUM_THREADS"] = held


# -- in the process --------------------------------------------------------------------------------


def _serve(pipe: Any, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends us
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that no temporary file stays behind
    warnings.simplefilter("ignore")
    import torch

    torch.set_num_threads(threads)
    # Sent by a thread of its own: training does not wait while the parent logs to MLflow.
    outbox: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    threading.Thread(target=_post, args=(pipe, outbox), daemon=True).start()
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        outcome = _run(job, _Forward(outbox))
        outbox.put(("error", str(outcome)) if isinstance(outcome, UserError) else ("result", outcome))


def _post(pipe: Any, outbox: queue.SimpleQueue[tuple[str, Any]]) -> None:
    try:
        while True:
            pipe.send(outbox.get())
    except OSError:
        os._exit(1)  # the parent is gone; what is known is on disk


class _Forward(Listener):
    """Sends every event to the parent process, which owns the terminal and the tracker."""

    def __init__(self, outbox: queue.SimpleQueue[tuple[str, Any]]) -> None:
        self.outbox = outbox

    def _send(self, name: str, *values: Any) -> None:
        # The result goes on growing here while the message waits.
        self.outbox.put((name, copy.deepcopy(values)))

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
