"""The process of `clplat.tracking.background`: logs what is sent, and never takes much of a run's time."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from clplat.tracking.background import FLUSH
from clplat.tracking.tracker import Tracker

__all__ = ["main"]

#: Seconds to log what is left when the sender has ended.
_GRACE = 120.0
#: The share of a run's time that logging may take while the run goes on; the longest pause in seconds.
_SHARE, _LONGEST = 0.02, 60.0


def main() -> None:
    """Log until standard input ends, then exit; each message that is logged is answered by a line of JSON."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    os.nice(10)  # training goes first
    os.setpgid(0, 0)  # Ctrl-C is for the sender. No session of its own: Linux would give it half the machine
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(inbox,), daemon=True).start()
    failures: list[str] = []

    @cache
    def made(root: str, level: str, parent: str | None, label: str | None) -> Tracker:
        return Tracker(Path(root), level=level, parent_run_id=parent, label=label, warn=failures.append)

    for message in _paced(inbox):
        tracker, folder, result = made(*message["tracker"]), Path(message["folder"]), message["result"]
        run_id = tracker.connect() if result is None else tracker.log_metrics(result, folder)
        answer = {"folder": message["folder"], "number": message["number"], "failure": " ".join(failures)}
        failures.clear()
        with suppress(OSError):  # the sender has ended
            print(json.dumps(answer), file=answers, flush=True)
        if run_id is not None:
            tracker.log_files(result, folder)  # what fails here is in the next answer
    os._exit(0)  # a second faster than taking MLflow apart


def _receive(inbox: SimpleQueue[Any]) -> None:
    """Take every message at once, so that the sender never waits; None stands for the end."""
    for line in sys.stdin:
        inbox.put(json.loads(line))
    threading.Timer(_GRACE, os._exit, (1,)).start()
    inbox.put(None)


def _paced(inbox: SimpleQueue[Any]) -> Iterator[dict[str, Any]]:
    """The latest message per folder, with pauses between those about a run that goes on.

    With them logging takes at most `_SHARE` of the time. There are none after `FLUSH` and at the end.
    """
    pending: dict[str, tuple[float, dict[str, Any]]] = {}  # folder -> when it is due, message
    resting: dict[str, float] = {}  # folder -> until when
    ended = False
    while pending or not ended:
        first = min(pending, key=lambda folder: pending[folder][0], default="")
        try:
            message = inbox.get(timeout=max(0.0, pending[first][0] - time.monotonic()) if pending else None)
        except Empty:
            start = time.monotonic()
            yield pending.pop(first)[1]
            end = time.monotonic()
            resting[first] = end + min((end - start) / _SHARE, _LONGEST)
            continue
        if message is None or message == FLUSH:
            ended = message is None
            pending = {folder: (0.0, waiting) for folder, (_, waiting) in pending.items()}
        else:
            goes_on = message["result"] is not None and message["result"]["status"] == "running"
            due = resting.get(message["folder"], 0.0) if goes_on else 0.0
            pending[message["folder"]] = (due, message)
