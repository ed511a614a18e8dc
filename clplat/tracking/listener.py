"""The listener that logs one run to MLflow while it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from clplat.events import Listener
from clplat.tracking.tracker import Tracker

__all__ = ["TrackedListener", "tracked"]


class TrackedListener(Listener):
    """Passes events on to the terminal and logs the result whenever it grew on disk; nothing waits."""

    def __init__(self, shown: Listener, tracker: Tracker, folder: Path) -> None:
        self.shown, self.tracker, self.folder = shown, tracker, folder
        self.started, self.progress, self.cell = shown.started, shown.progress, shown.cell  # type: ignore[method-assign]
        self.note, self.failed = shown.note, shown.failed  # type: ignore[method-assign]

    def row(self, result: dict[str, Any]) -> None:
        self.shown.row(result)
        self.tracker.log_async(result, self.folder)

    def finished(self, result: dict[str, Any]) -> None:
        self.tracker.log_async(result, self.folder)
        self.shown.finished(result)


def tracked(shown: Listener, tracker: Tracker | None, folder: Path) -> Listener:
    """A listener that also tracks; with no tracker, as it is."""
    return shown if tracker is None else TrackedListener(shown, tracker, folder)
