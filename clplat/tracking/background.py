"""Logging while training goes on, in a process of its own, which runs `clplat.tracking.background_main`.

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
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

from clplat.tracking.destination import Destination
from clplat.tracking.failures import failure_message, warn_once

__all__ = ["FLUSH", "BackgroundLogger", "background_logger"]

#: The message that asks for everything sent before it, without pauses.
FLUSH = "flush"
# As multiprocessing's "spawn" does, but without running the main module again.
_START = "import sys; sys.path[:] = sys.argv[1:]; from clplat.tracking.background_main import main; main()"


class BackgroundLogger:
    """Takes messages and returns at once; of several about one folder that wait, the latest is logged."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self._pending: dict[str, tuple[int, Destination]] = {}
        self._sent = 0
        self._changed = threading.Condition()

    def send(self, message: Mapping[str, Any], tracker: Destination) -> None:
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
                _write(self.process, FLUSH)
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
