"""What follows from the domains and probes that a scenario builds: its benchmark and its fingerprint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from clplat.data.fingerprint import stream_fingerprint
from clplat.data.records import Domain
from clplat.parts import Probe

__all__ = ["Stream"]


class Stream(ABC):
    """A scenario that says its domains and probes, in `build`."""

    @abstractmethod
    def build(self) -> tuple[Sequence[Domain], Sequence[Probe]]:
        """Return the domains in stream order and the probes; the same objects at every call."""

    def benchmark(self) -> Any:
        """Return the Avalanche benchmark: one experience per domain; its stream ``probe`` holds probes."""
        from clplat.training.streams import build_benchmark

        return build_benchmark(*self.build())

    def fingerprint(self) -> str:
        """The sha256 of all keys, texts, labels and splits, in stream order."""
        return stream_fingerprint(*self.build())
