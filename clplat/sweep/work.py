"""One worker: takes what is next from the queue, runs it, tells how it ended, until nothing is left."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clplat.errors import UserError
from clplat.events import Listener
from clplat.files import write_text
from clplat.measures import find_measure
from clplat.sweep.queue import Queue, Work
from clplat.tuning.samplers import make_pruner

__all__ = ["Pruned", "Steered", "work_on"]

#: Seconds between two looks at a queue in which others still work.
POLL = 1.0


class Pruned(Exception):
    """The run of a trial is stopped; what it measured is on disk."""


class Steered(Listener):
    """Passes events on, reports each row to the trial's study and stops the run when that prunes it."""

    def __init__(self, inner: Listener, work: Work, objectives: list[str], pruner: str) -> None:
        self.inner, self.work, self.pruner = inner, work, pruner
        # Several objectives have no order in which the worse half could be told.
        self.prunes = work.final is None and len(objectives) == 1 and pruner != "none"
        self.objective = find_measure(objectives[0])
        self.reported = 0
        self.result: dict[str, Any] = {}
        self.progress, self.cell, self.note = inner.progress, inner.cell, inner.note  # type: ignore[method-assign]

    def started(self, result: dict[str, Any]) -> None:
        self.work.trial.study.pruner = make_pruner(self.pruner, len(result["domains"]))
        self.inner.started(result)

    def row(self, result: dict[str, Any]) -> None:
        self.result = result
        self.inner.row(result)
        step = len(result["scores"]) - 1
        value = self.objective.value(result)
        if not self.prunes or step < 1 or step >= len(result["domains"]) or value is None:
            return
        self.work.trial.report(value, step)
        if self.work.trial.should_prune():
            raise Pruned

    def finished(self, result: dict[str, Any]) -> None:
        self.result = result
        self.inner.finished(result)


def work_on(queue: Queue, watch: Callable[[Work], Listener]) -> None:
    """Work until there is nothing left to do for anybody.

    Args:
        watch: gives the listener of a piece of work that is about to begin.
    """
    while True:
        work = queue.take()
        if work is not None:
            _one(queue, work, watch(work))
        elif queue.pending():
            time.sleep(POLL)
        else:
            return


def _one(queue: Queue, work: Work, listener: Listener) -> None:
    from clplat.runs.experiment import run

    sweep = queue.layout.sweep
    folder = queue.out / work.folder
    steered = Steered(listener, work, list(sweep.objectives), sweep.pruner)
    try:
        result = run(work.config, folder, listener=steered)
    except Pruned:
        queue.pruned(work, steered.result)
        listener.finished({**steered.result, "status": "pruned"})
    except UserError as error:
        queue.failed(work, str(error))
        listener.failed(str(error))
    except Exception as error:  # a defect of one part must not take the other runs with it
        why = _report(folder, error)
        queue.failed(work, why)
        listener.failed(why)
    else:
        queue.complete(work, result)


def _report(folder: Path, error: Exception) -> str:
    report = folder / "error.txt"
    write_text(report, traceback.format_exc())
    return f"{type(error).__name__}: {error} (this is a defect; details in {report})"
