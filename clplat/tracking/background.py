"""Logging while training goes on: letters to a process of its own, `clplat.tracking.background_main`.

Not a thread: MLflow computes for seconds (importing it, a new database, figures), and a thread that computes
keeps the interpreter from the training. A process uses a core that is idle, and lives on to deliver what was
sent when we are killed.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clplat.tracking.failures import failure_message, warn_once

__all__ = ["BackgroundLogger"]

# As multiprocessing's "spawn" does, but without running the main module again.
_START = (
    "import sys; sys.path[:] = sys.argv[1:]; from clplat.tracking.background_main import deliver; deliver()"
)

_shared: dict[tuple[int, str | None], BackgroundLogger] = {}


class BackgroundLogger:
    """Takes results and returns at once; of several about one folder that wait, the latest is delivered.

    Logging takes at most 2 % of a run's time: after each delivery a run that goes on is left alone for fifty
    times as long as that took, a minute at most. What is over, or is waited for, is delivered at once.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[int, str, Callable[[str], None]]] = {}
        self._changed = threading.Condition()
        self._count = 0
        self._process: subprocess.Popen[str] | None = None

    @classmethod
    def of_process(cls) -> BackgroundLogger:
        """One for all trackers of this process, as long as they log to the same place."""
        key = (os.getpid(), os.environ.get("MLFLOW_TRACKING_URI"))
        if key not in _shared:
            _shared[key] = cls()
        return _shared[key]

    def send(self, letter: Mapping[str, Any], folder: Path, uri: str, warn: Callable[[str], None]) -> None:
        """Send ``letter`` about ``folder``; whatever fails is told by ``warn``, from another thread."""
        with self._changed:
            self._count += 1
            self._waiting[str(folder)] = (self._count, uri, warn)
            text = json.dumps({**letter, "folder": str(folder), "number": self._count}, default=str)
            try:
                if self._process is None:
                    self._process = self._start()
                _tell(self._process, text)
            except OSError as error:  # no process to be had, or it died just now
                del self._waiting[str(folder)]
                warn_once(uri, failure_message(uri, str(error)), warn)

    def wait(self, folder: Path, seconds: float) -> bool:
        """Wait until what was sent about ``folder`` is delivered; False if it was not within ``seconds``."""
        with self._changed:
            if str(folder) in self._waiting and self._process is not None:
                with suppress(OSError):  # it died just now; `_listen` tells
                    _tell(self._process, "null")  # the word for hurry
            return self._changed.wait_for(lambda: str(folder) not in self._waiting, seconds)

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        atexit.register(_hang_up, process)
        return process

    def _listen(self, process: subprocess.Popen[str]) -> None:
        """Note what is delivered, and who is told what went wrong."""
        assert process.stdout is not None
        for line in process.stdout:
            reply = json.loads(line)
            with self._changed:
                number, uri, warn = self._waiting.get(reply["folder"], (0, "", print))
                if number == reply["number"]:
                    del self._waiting[reply["folder"]]
                    self._changed.notify_all()
            if reply["failure"]:
                warn_once(uri, reply["failure"], warn)
        code = process.wait()
        with self._changed:  # it died: what comes next starts another one
            for _, uri, warn in self._waiting.values():  # told before those who wait go on
                warn_once(uri, failure_message(uri, f"the process that logs ended with code {code}"), warn)
            self._waiting.clear()
            self._process = None
            self._changed.notify_all()


def _tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()


def _hang_up(process: subprocess.Popen[str]) -> None:
    """Let it finish on its own: nobody waits for a store when Python shuts down."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
