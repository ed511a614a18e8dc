"""Events of a running experiment; the terminal, a sweep and a test receive them by overriding methods."""

from __future__ import annotations

from typing import Any

__all__ = ["Listener"]


class Listener:
    """Receives the events of an experiment; every method may be left out."""

    def started(self, result: dict[str, Any]) -> None:
        """The experiment begins or goes on; ``result`` holds what is known already."""

    def progress(self, experience: int, done: int, total: int) -> None:
        """``done`` of ``total`` optimizer steps of an experience are made."""

    def cell(self, row: int, column: int, metrics: dict[str, float]) -> None:
        """One cell of R is known: after ``row`` experiences, on domain ``column``, in percent."""

    def row(self, result: dict[str, Any]) -> None:
        """A row is complete and on disk."""

    def finished(self, result: dict[str, Any]) -> None:
        """The experiment is complete, or failed, and on disk."""

    def failed(self, why: str) -> None:
        """A sweep gives this experiment up; what is known of it is on disk."""

    def note(self, text: str) -> None:
        """A remark for the user that is no error."""
