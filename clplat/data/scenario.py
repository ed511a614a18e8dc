"""What a scenario is to everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from clplat.data.records import Domain

__all__ = ["Scenario"]


class Scenario(Protocol):
    """A stream: any class with these methods will do, and may stand in another scenario as its source."""

    def build(self) -> tuple[Sequence[Domain], Sequence[Any]]:
        """The domains in stream order and the probes; the same objects at every call."""
        ...

    def benchmark(self) -> Any:
        """The Avalanche benchmark: an experience per domain; its stream ``probe`` holds probes."""
        ...

    def fingerprint(self) -> str:
        """The sha256 of all that decides about numbers."""
        ...
