"""What every worker of a sweep needs to know, wherever it runs, and what else may listen to a sweep."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from clplat.events import Listener
from clplat.sweep.layout import Layout
from clplat.sweep.plan import Sweep
from clplat.sweep.queue import Job, Queue
from clplat.tuning.storage import open_storage

__all__ = ["SweepListener", "SweepListenerFactory", "WorkerSpec", "cores", "threads_per_worker"]


class SweepListener(Protocol):
    """Listens to a whole sweep, as `clplat.tracking.sweeps.SweepTracker` does to log it."""

    def listener(self, shown: Listener, job: Job) -> Listener:
        """The listener of a job that begins; it passes every event on to ``shown``."""
        ...

    def close(self) -> None:
        """Nothing more comes from this worker."""
        ...

    def finish(self, outcome: Mapping[str, Any], files: list[Path]) -> None:
        """The sweep came to its end, with this outcome and these files about it."""
        ...


#: Makes the listener from the layout, the folder of the sweep and a function that prints a line.
SweepListenerFactory = Callable[[Layout, Path, Callable[[str], None]], SweepListener]


@dataclass(frozen=True)
class WorkerSpec:
    """Data which crosses processes and machines.

    Args:
        sweep: what is run.
        out: folder of the sweep.
        storage: where its queue is, see `clplat.tuning.storage.open_storage`.
        session: the call of the command, see `Queue`.
        workers: how many share the work.
        threads: of torch in each worker; None leaves that to whatever starts its process.
        tracker: makes a further listener, in the process of an unattended worker; None for none.
    """

    sweep: Sweep
    out: Path
    storage: str | None = None
    session: str = ""
    workers: int = 1
    threads: int | None = None
    tracker: SweepListenerFactory | None = None

    @property
    def cuda(self) -> bool:
        """Whether each worker needs a GPU."""
        return str(self.sweep.base.get("device", "")).startswith("cuda")

    def queue(self) -> Queue:
        """The queue, opened.

        Raises:
            UserError: a wrong name or value in the sweep, a storage that does not answer.
        """
        return Queue(Layout(self.sweep), self.out, open_storage(self.storage, self.out), self.session)


def cores() -> int:
    """Of this machine, those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_per_worker(workers: int) -> int:
    """The cores of this machine divided; OMP_NUM_THREADS is the limit of each process."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    share = max(1, cores() // workers)
    return min(share, int(limit)) if limit.isdecimal() and int(limit) > 0 else share
