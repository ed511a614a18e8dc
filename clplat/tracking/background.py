"""Logging while training goes on, in a process of its own, which runs `main`.

Not in a thread: MLflow computes for seconds (its import, a new database, figures), which would keep the
interpreter from the training. Not in a pool: Python waits for pools when it ends. What was sent is logged
even if the sender is killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from clplat.tracking.failures import failure_message, warn_once

if TYPE_CHECKING:
    from clplat.tracking.tracker import Tracker

__all__ = ["BackgroundLogger", "background_logger", "main"]

#: The message that asks for everything sent before it, without pauses.
_FLUSH = "flush"
# As multiprocessing's "spawn" does, but without running the main module again.
_START = "import sys; sys.path[:] = sys.argv[1:]; from clplat.tracking.background import main; main()"
#: Seconds to log what is left when the sender has ended.
_GRACE = 120.0
#: The share of a run's time that logging may take while the run goes on; the longest pause in seconds.
_SHARE, _LONGEST = 0.02, 60.0


class BackgroundLogger:
    """Takes messages and returns at once; of several about one folder that wait, the latest is logged."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self._pending: dict[str, tuple[int, Tracker]] = {}
        self._sent = 0
        self._changed = threading.Condition()

    def send(self, message: Mapping[str, Any], tracker: Tracker) -> None:
        """Send a message, which names its ``folder``; ``tracker`` is warned from another thread."""
        with self._changed:
            try:
                self.process = self.process or self._start()
            except OSError as error:
                warn_once(tracker, failure_message(tracker.uri, str(error)))
                return
            self._sent += 1
            self._pending[message["folder"]] = (self._sent, tracker)
            _write(self.process, {**message, "number": self._sent})

    def wait(self, folders: Collection[str], seconds: float) -> bool:
        """Wait until what was sent about ``folders`` is logged; False if that takes more than ``seconds``."""
        with self._changed:
            if self.process is not None:
                _write(self.process, _FLUSH)
            return self._changed.wait_for(lambda: self._pending.keys().isdisjoint(folders), seconds)

    def _start(self) -> subprocess.Popen[str]:
        command, pipe = [sys.executable, "-c", _START, *sys.path], subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Read the answers: what is logged, and what failed."""
        assert process.stdout is not None
        for line in process.stdout:
            answer = json.loads(line)
            if answer["failure"]:  # before the waiting callers go on
                warn_once(self._pending[answer["folder"]][1], answer["failure"])
            with self._changed:
                if self._pending[answer["folder"]][0] == answer["number"]:
                    del self._pending[answer["folder"]]
                    self._changed.notify_all()
        code = process.wait()
        with self._changed:  # the next message starts another process
            for _, tracker in self._pending.values():
                reason = f"the process that logs ended with code {code}"
                warn_once(tracker, failure_message(tracker.uri, reason))
            self._pending.clear()
            self.process = None
            self._changed.notify_all()


_of_process = cache(lambda pid, uri: BackgroundLogger())


def background_logger() -> BackgroundLogger:
    """The one that the trackers of this process share, as long as they log to the same place."""
    return _of_process(os.getpid(), os.environ.get("MLFLOW_TRACKING_URI"))


def _write(process: subprocess.Popen[str], message: Mapping[str, Any] | str) -> None:
    assert process.stdin is not None
    with suppress(OSError):  # it has just died, and `_listen` says so
        process.stdin.write(json.dumps(message, default=str) + "\n")
        process.stdin.flush()


def main() -> None:
    """Log until standard input ends, then exit; each message that is logged is answered by a line of JSON."""
    from clplat.tracking.tracker import Tracker

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

    With them logging takes at most `_SHARE` of the time. There are none after `_FLUSH` and at the end.
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
        if message is None or message == _FLUSH:
            ended = message is None
            pending = {folder: (0.0, waiting) for folder, (_, waiting) in pending.items()}
        else:
            goes_on = message["result"] is not None and message["result"]["status"] == "running"
            due = resting.get(message["folder"], 0.0) if goes_on else 0.0
            pending[message["folder"]] = (due, message)
