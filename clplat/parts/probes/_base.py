"""The contract of a set of probes: what a model could do before the stream, and should still do after it."""

from __future__ import annotations

from clplat.data.records import Probe

__all__ = ["Probes"]


class Probes:
    """Zero-shot data outside the stream; the constructor is the configuration.

    A scenario with probes of its own is measured on those instead.
    """

    def build(self) -> list[Probe]:
        """The probes, equal at every call; pictures are loaded when they are needed."""
        raise NotImplementedError
