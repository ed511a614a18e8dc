"""One worker: claims a job from the queue, runs it and reports how it ended, until nothing is left."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from clplat.errors import UserError
from clplat.events import Listener
from clplat.files import write_json, write_text
from clplat.runs.run_folder import RESULT
from clplat.sweep.queue import Job, Queue
from clplat.sweep.worker_spec import SweepListener, WorkerSpec
from clplat.terminal import Terminal

__all__ = ["Pruned", "TrialListener", "listening", "run_unattended_worker", "run_worker"]

#: Seconds between two looks at a queue in which only others have jobs.
POLL = 1.0


class Pruned(Exception):
    """The run of a trial is stopped; what it measured is on disk."""


class TrialListener(Listener):
    """Passes events on, reports each row to the queue and stops the run of a trial that is pruned."""

    def __init__(self, inner: Listener, queue: Queue, job: Job) -> None:
        self.inner, self.queue, self.job = inner, queue, job
        self.result: dict[str, Any] = {}
        self.started, self.progress = inner.started, inner.progress  # type: ignore[method-assign]
        self.cell, self.note = inner.cell, inner.note  # type: ignore[method-assign]
        self.finished = inner.finished  # type: ignore[method-assign]

    def row(self, result: dict[str, Any]) -> None:
        self.result = result
        self.inner.row(result)
        if self.queue.should_prune(self.job, result):
            raise Pruned


def listening(terminal: Terminal, tracker: SweepListener | None) -> Callable[[Job], Listener]:
    """What gives each job that begins its listener: the terminal, and the tracker where there is one."""

    def listen(job: Job) -> Listener:
        shown = terminal.listener(job.label)
        return shown if tracker is None else tracker.listener(shown, job)

    return listen


def run_worker(queue: Queue, listen: Callable[[Job], Listener]) -> None:
    """Work until there is nothing left to do, for this worker or another.

    Args:
        listen: gives the listener of a job that is about to begin.
    """
    while True:
        job = queue.claim()
        if job is not None:
            _run(queue, job, listen(job))
        elif queue.has_pending():
            time.sleep(POLL)
        else:
            queue.leave()
            return


def run_unattended_worker(spec: WorkerSpec) -> None:
    """The same in a process that no parent listens to: it prints a line per row and tracks for itself."""
    import torch

    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    queue = spec.queue()
    with Terminal(queue.layout.jobs) as terminal:
        tracker = None if spec.tracker is None else spec.tracker(queue.layout, spec.out, terminal.say)
        run_worker(queue, listening(terminal, tracker))
        if tracker is not None:
            tracker.close()


def _run(queue: Queue, job: Job, listener: Listener) -> None:
    from clplat.runs.experiment import run

    folder = queue.out / job.folder
    watched = TrialListener(listener, queue, job)
    try:
        result = run(job.config, folder, listener=watched)
    except Pruned:
        queue.pruned(job, watched.result)
        stopped = {**watched.result, "status": "pruned"}
        write_json(folder / RESULT, stopped)
        listener.finished(stopped)
    except Exception as error:
        why = str(error)
        if not isinstance(error, UserError):  # a defect of one part must not take the other runs with it
            write_text(folder / "error.txt", traceback.format_exc())
            why = f"{type(error).__name__}: {error} (this is a defect; details in {folder / 'error.txt'})"
        queue.failed(job, why)
        listener.failed(why)
    else:
        queue.complete(job, result)
