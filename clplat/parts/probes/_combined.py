"""Several sets of probes as one: ``--probes catalogue,mine``."""

from __future__ import annotations

from collections.abc import Sequence

from clplat.errors import UserError
from clplat.parts.probes._base import Probe, Probes

__all__ = ["CombinedProbes"]


class CombinedProbes(Probes):
    """All probes of all sets, in their order.

    Args:
        parts: the sets; no two of them may have a probe of one name.
    """

    def __init__(self, parts: Sequence[Probes]) -> None:
        self.parts = list(parts)

    def build(self) -> list[Probe]:
        """The probes of every set.

        Raises:
            UserError: two of them have one name.
        """
        return _named([probe for part in self.parts for probe in part.build()])

    def beside(self, own: Sequence[Probe]) -> list[Probe]:
        """Those of every set that are measured beside the scenario's ``own``."""
        return _named([probe for part in self.parts for probe in part.beside(own)])


def _named(found: list[Probe]) -> list[Probe]:
    names = [probe.name for probe in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two sets of probes have a probe called '{twice}': choose one of them")
    return found
