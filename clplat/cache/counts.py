"""What was requested of the towers, what had to be computed for it, and what the rest would have cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Counts", "Rate", "added"]


@dataclass
class Rate:
    """How fast rows of one kind are made."""

    seconds_a_row: float = math.inf

    def add(self, rows: int, seconds: float) -> None:
        """One pass; the fastest counts, as the first one warms up and others may be disturbed."""
        self.seconds_a_row = min(self.seconds_a_row, seconds / rows)

    def of(self, rows: int) -> float:
        """Seconds that this many rows would take; 0 while none was made here."""
        return rows * self.seconds_a_row if math.isfinite(self.seconds_a_row) else 0.0


@dataclass
class Counts:
    """Items of one tower: ``asked`` for, ``encoded`` to be kept, sent ``live`` through the whole tower.

    What is asked for again, or was there before, is reused: ``asked - live - first``, where ``first`` counts
    the first request for a row that was made here; a row may be made and never asked for. ``cuts`` counts the
    calls by their cut through the tower, ``unseen`` the calls that ran live because of something that no
    digest can know.
    """

    asked: int = 0
    encoded: int = 0
    live: int = 0
    first: int = 0
    seconds_saved: float = 0.0
    cuts: dict[str, int] = field(default_factory=dict)
    unseen: dict[str, int] = field(default_factory=dict)
    _unused: dict[str, set[str]] = field(default_factory=dict)

    def made(self, table: str, names: Sequence[str]) -> None:
        """These rows of a table were encoded."""
        self.encoded += len(names)
        self._unused.setdefault(table, set()).update(names)

    def used(self, table: str, names: Sequence[str]) -> None:
        """These rows of a table were asked for."""
        waiting = self._unused.get(table)
        if waiting:
            met = waiting.intersection(names)
            self.first += len(met)
            waiting -= met

    def saw(self, cut: object, unseen: Sequence[str] = ()) -> None:
        name = str(cut) if cut is not None else "live"
        self.cuts[name] = self.cuts.get(name, 0) + 1
        for what in unseen:
            self.unseen[what] = self.unseen.get(what, 0) + 1

    def report(self) -> dict[str, Any]:
        """As plain data, for the result."""
        return {
            "asked": self.asked,
            "encoded": self.encoded,
            "live": self.live,
            "reused": self.asked - self.live - self.first,
            "seconds_saved": round(self.seconds_saved, 3),
            "taps": dict(self.cuts),
            **({"unused": self.encoded - self.first} if self.encoded > self.first else {}),
            **({"unseen": dict(self.unseen)} if self.unseen else {}),
        }


def added(left: Any, right: Any) -> Any:
    """Two reports of one experiment, before and after an interruption, as one.

    Example:
        >>> added({"asked": 2, "taps": {"live": 1}}, {"asked": 3, "taps": {"pooled": 1}})
        {'asked': 5, 'taps': {'live': 1, 'pooled': 1}}
    """
    if isinstance(right, dict):
        left = left or {}
        return {key: added(left.get(key), right.get(key)) for key in dict.fromkeys([*left, *right])}
    if left is None or right is None:
        return right if left is None else left
    return round(left + right, 3)
