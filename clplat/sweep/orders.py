"""What every worker of a sweep is told, wherever it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.sweep.layout import Layout
from clplat.sweep.plan import read_sweep
from clplat.sweep.queue import Queue
from clplat.tuning.storage import open_storage

__all__ = ["Orders"]


@dataclass(frozen=True)
class Orders:
    """Plain data, which crosses processes and machines.

    Args:
        sweep: its description, as `Sweep.as_dict` gives it.
        out: folder of the sweep.
        storage: where its queue is, see `clplat.tuning.storage.open_storage`.
        session: the call of the command, see `Queue`.
        workers: how many share the work.
        track: whether workers log to MLflow.
    """

    sweep: dict[str, Any]
    out: Path
    storage: str | None
    session: str
    workers: int = 1
    track: bool = True

    @property
    def cuda(self) -> bool:
        """Whether each worker needs a GPU."""
        return str(self.sweep["base"].get("device", "")).startswith("cuda")

    @property
    def threads(self) -> int:
        """Of a worker here: the machine's cores divided; OMP_NUM_THREADS is the limit of each process."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        limit = os.environ.get("OMP_NUM_THREADS", "")
        share = max(1, cores // self.workers)
        return min(share, int(limit)) if limit.isdecimal() and int(limit) > 0 else share

    def queue(self) -> Queue:
        """The queue, opened.

        Raises:
            UserError: a wrong name or value in the sweep, a storage that does not answer.
        """
        layout = Layout(read_sweep(self.sweep))
        return Queue(layout, self.out, open_storage(self.storage, self.out), self.session)
