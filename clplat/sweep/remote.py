"""A worker that nobody watches: it works on the queue, prints a line a row and tracks for itself."""

from __future__ import annotations

from clplat.events import Listener
from clplat.sweep.orders import Orders
from clplat.sweep.queue import Work
from clplat.sweep.tracked import SweepTracker
from clplat.sweep.work import work_on
from clplat.terminal import Terminal

__all__ = ["serve"]


def serve(orders: Orders, threads: int | None) -> int:
    """Work until nothing is left; return how many pieces of work were done here.

    Args:
        threads: of torch; None leaves that to whoever started this process.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    queue = orders.queue()
    layout, done = queue.layout, 0
    with Terminal(len(layout.entries) * len(layout.sweep.seeds)) as terminal:
        tracker = SweepTracker(layout, orders.out, terminal.say) if orders.track else None

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
