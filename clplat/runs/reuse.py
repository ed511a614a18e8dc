"""What an experiment was given by the feature store instead of computing it, for its result and its user."""

from __future__ import annotations

from typing import Any

from clplat.cache.counts import added
from clplat.events import Listener
from clplat.runs.assembly import Assembly

__all__ = ["Reuse"]


class Reuse:
    """Counts since an experiment began, and tells its user once what cannot be kept.

    Args:
        parts: of the experiment; its pictures may have served earlier ones of this process.
        listener: is told.

    ``before`` holds what an interrupted process had counted.
    """

    def __init__(self, parts: Assembly, listener: Listener) -> None:
        self.parts, self.listener = parts, listener
        self.before: dict[str, Any] = {}
        self._pixels = self._decoded()
        self._told: set[str] = set()

    def note(self, measured: dict[str, Any]) -> None:
        """Bring ``measured["features"]`` of a result up to now."""
        cache = self.parts.cache
        if cache is None:
            return
        cache.store.flush()
        if cache.store.problem:
            self._tell("store", cache.store.problem)
        for tower, counts in cache.counts.items():
            if counts.unseen:
                first, *others = counts.unseen
                more = f" and {len(others)} more" if others else ""
                self._tell(tower, f"the {tower} tower runs live, nothing of it is kept: {first}{more}")
        since = {key: value - self._pixels[key] for key, value in self._decoded().items()}
        measured["features"] = added(self.before, {**cache.report(), "pixels": since})

    def _decoded(self) -> dict[str, int]:
        return {"asked": self.parts.pixels.asked, "decoded": self.parts.pixels.decoded}

    def _tell(self, about: str, words: str) -> None:
        if about not in self._told:
            self.listener.note(words)
            self._told.add(about)
