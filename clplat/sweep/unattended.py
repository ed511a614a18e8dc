"""A worker in a process that this one does not see: it prints a line per row and tracks for itself."""

from __future__ import annotations

from clplat.events import Listener
from clplat.sweep.queue import Job
from clplat.sweep.worker import run_worker
from clplat.sweep.worker_spec import WorkerSpec
from clplat.terminal import Terminal

__all__ = ["run_unattended_worker"]


def run_unattended_worker(spec: WorkerSpec) -> int:
    """Work until nothing is left; return how many jobs were done here."""
    import torch

    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    queue, done = spec.queue(), 0
    with Terminal(len(queue.layout.entries) * len(spec.sweep.seeds)) as terminal:
        tracker = None if spec.tracker is None else spec.tracker(queue.layout, spec.out, terminal.say)

        def listen(job: Job) -> Listener:
            nonlocal done
            done += 1
            shown = terminal.listener(job.label)
            return shown if tracker is None else tracker.listener(shown, job)

        run_worker(queue, listen)
        if tracker is not None:
            tracker.close()
    return done
