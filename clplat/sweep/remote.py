"""A worker that nobody watches: it works on the queue, prints a line a row and tracks for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clplat.events import Listener
from clplat.sweep.layout import Layout
from clplat.sweep.plan import read_sweep
from clplat.sweep.queue import Queue, Work
from clplat.sweep.tracked import SweepTracker
from clplat.sweep.work import work_on
from clplat.terminal import Terminal
from clplat.tuning.storage import open_storage

__all__ = ["serve"]


def serve(
    sweep: dict[str, Any], out: str, storage: str | None, session: str, track: bool, threads: int | None
) -> int:
    """Work until nothing is left; return how many pieces of work were done here.

    Everything it is given is plain data: it may run in another process, on another machine.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    folder = Path(out)
    layout = Layout(read_sweep(sweep))
    queue = Queue(layout, folder, open_storage(storage, folder), session)
    done = 0
    with Terminal(len(layout.entries) * len(layout.sweep.seeds)) as terminal:
        tracker = SweepTracker(layout, folder, terminal.say) if track else None

        def watch(work: Work) -> Listener:
            nonlocal done
            done += 1
            shown = terminal.listener(work.label)
            if tracker is None:
                return shown
            return tracker.listener(shown, work.folder, work.entry.key, work.kind)

        work_on(queue, watch)
        if tracker is not None:
            tracker.close()
    return done
