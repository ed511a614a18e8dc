"""Where every failure of MLflow ends: one line, once per store, and the experiment goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["failure_message", "guard", "warn_once"]

T = TypeVar("T")

# Of the process, not of a tracker: a sweep has a tracker a run, and one dead server is one line, and no run
# waits for it again and again.
_reported: set[str] = set()
_silent_until: dict[str, float] = {}
#: Seconds: a failure that took longer than the first is not tried again for the second.
_SLOW, _PAUSE = 2.0, 60.0


def guard(uri: str, work: Callable[[], T], warn: Callable[[str], None]) -> T | None:
    """What ``work`` returns, or None if it fails, in whatever way, or if this store just kept us waiting."""
    start = time.monotonic()
    if start < _silent_until.get(uri, 0):
        return None
    try:
        return work()
    except Exception as error:  # SQLAlchemy's, requests', the disk's and MLflow's own have no common base
        if time.monotonic() - start > _SLOW:
            _silent_until[uri] = time.monotonic() + _PAUSE
        warn_once(
            uri, failure_message(uri, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"), warn
        )
        return None


def failure_message(uri: str, reason: str) -> str:
    """The line that tells why a store has not got everything."""
    return (
        f"not tracked in MLflow ({uri}): {reason}; the results on disk are whole, and "
        "`clplat track <folder>` logs them later"
    )


def warn_once(uri: str, line: str, warn: Callable[[str], None]) -> None:
    """Tell a line about this store, unless something was told about it already."""
    if uri not in _reported:
        _reported.add(uri)
        warn(line)
