"""What an experiment was given by the feature store instead of computing it, for its result and its user."""

from __future__ import annotations

from typing import Any

from clplat.cache.counts import added
from clplat.cache.engine import FeatureCache
from clplat.data.images import PixelStore
from clplat.events import Listener

__all__ = ["Reuse"]


class Reuse:
    """Counts since an experiment began, and tells its user once what cannot be kept.

    Args:
        cache: of the retriever, if it has one.
        pixels: its pictures; they may have served earlier experiments of this process.
        listener: is told.

    ``before`` holds what an interrupted process had counted.
    """

    def __init__(self, cache: FeatureCache | None, pixels: PixelStore, listener: Listener) -> None:
        self.cache, self.pixels, self.listener = cache, pixels, listener
        self.before: dict[str, Any] = {}
        self._before = self._decoded()
        self._told: set[str] = set()

    def note(self, measured: dict[str, Any]) -> None:
        """Bring ``measured["features"]`` of a result up to now."""
        cache = self.cache
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
        since = {key: value - self._before[key] for key, value in self._decoded().items()}
        measured["features"] = added(self.before, {**cache.report(), "pixels": since})

    def _decoded(self) -> dict[str, int]:
        return {"asked": self.pixels.asked, "decoded": self.pixels.decoded}

    def _tell(self, about: str, words: str) -> None:
        if about not in self._told:
            self.listener.note(words)
            self._told.add(about)
