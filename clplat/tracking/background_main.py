"""The other end of `clplat.tracking.background`: a process that reads messages, logs and answers."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from clplat.tracking.tracker import Tracker

__all__ = ["deliver"]

#: Seconds to deliver what is left when the sender is gone.
_AFTER_THE_END = 120.0
#: Of a run's time, what logging it may take while it goes on.
_SHARE = 0.02
#: Seconds that a run which goes on is left alone at most.
_LONGEST = 60.0


class _Box:
    """Letters by folder, in the order in which the folders came up; each folder's not too often."""

    def __init__(self) -> None:
        self._letters: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._closed = self._hurried = False
        self._next: dict[str, float] = {}

    def fill(self, source: IO[str]) -> None:
        """Put in every line of ``source``; a later letter takes the place of an earlier one."""
        for line in source:
            letter = json.loads(line)
            with self._changed:
                if letter is None:  # somebody waits for all that is here
                    self._hurried = bool(self._letters)
                else:
                    self._letters[letter["folder"]] = letter
                self._changed.notify()
        threading.Timer(_AFTER_THE_END, os._exit, (1,)).start()
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self) -> dict[str, Any] | None:
        """The next letter; None when there will be no more.

        One about a run that goes on waits for the folder's `rest` to end, unless somebody waits for it.
        """
        with self._changed:
            while True:
                now = time.monotonic()
                waits = {folder: self._until(letter) - now for folder, letter in self._letters.items()}
                soonest = min(waits, key=lambda folder: max(0.0, waits[folder]), default=None)
                if soonest is None and self._closed:
                    return None
                if soonest is not None and waits[soonest] <= 0:
                    letter = self._letters.pop(soonest)
                    self._hurried &= bool(self._letters)
                    return letter
                self._changed.wait(None if soonest is None else waits[soonest])

    def rest(self, folder: str, took: float) -> None:
        """Leave ``folder`` alone for so long that what logging it ``took`` was a small share of the time."""
        self._next[folder] = time.monotonic() + min(took / _SHARE, _LONGEST)

    def _until(self, letter: Mapping[str, Any]) -> float:
        goes_on = letter["result"] is not None and letter["result"]["status"] == "running"
        may_wait = goes_on and not self._hurried and not self._closed
        return self._next.get(letter["folder"], 0.0) if may_wait else 0.0


def deliver() -> None:
    """Log until the standard input ends. Answers go to the standard output, a line of JSON a letter."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    os.nice(10)  # training goes first
    os.setpgid(0, 0)  # Ctrl-C is for the sender. No session of our own: Linux would give it half the machine
    box, trackers = _Box(), dict[tuple[str, ...], Tracker]()
    threading.Thread(target=box.fill, args=(sys.stdin,), daemon=True).start()
    said: list[str] = []
    while (letter := box.take()) is not None:
        key = (letter["root"], letter["level"], letter["parent"] or "", letter["label"] or "")
        if key not in trackers:
            trackers[key] = Tracker(
                Path(key[0]),
                level=key[1],
                parent_run_id=letter["parent"],
                label=letter["label"],
                warn=said.append,
            )
        result, folder, start = letter["result"], Path(letter["folder"]), time.monotonic()
        run_id = None
        if result is None:
            trackers[key].connect()
        else:
            run_id = trackers[key].log_metrics(result, folder)
        answer = {"folder": letter["folder"], "number": letter["number"], "failure": " ".join(said)}
        said.clear()
        with suppress(OSError):  # the sender is gone; the letters it left are still delivered
            print(json.dumps(answer), file=answers, flush=True)
        if run_id is not None:  # what fails here is told with the next answer
            trackers[key].log_files(result, folder)
            box.rest(letter["folder"], time.monotonic() - start)
    os._exit(0)  # without the second that taking MLflow apart needs
