"""Failures of MLflow end here: one line per store, and the experiment goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from clplat.addresses import masked, without_password
from clplat.tracking.destination import Destination

__all__ = ["failure_message", "guard", "warn_once"]

P = ParamSpec("P")
T = TypeVar("T")
D = TypeVar("D", bound=Destination)

# Per process, not per tracker: a sweep has many trackers, and a dead server is one line and one wait.
_reported: set[str] = set()
_paused_until: dict[str, float] = {}
#: Seconds: a failure that took longer than the first is not risked again during the second.
_SLOW, _PAUSE = 2.0, 60.0


def guard(method: Callable[Concatenate[D, P], T]) -> Callable[Concatenate[D, P], T | None]:
    """Make it return None where it fails, in any way, or where the store kept us waiting just now."""

    @wraps(method)
    def guarded(tracker: D, /, *args: P.args, **kwargs: P.kwargs) -> T | None:
        start = time.monotonic()
        if start < _paused_until.get(tracker.uri, 0):
            return None
        try:
            return method(tracker, *args, **kwargs)
        except Exception as error:  # SQLAlchemy's, requests', the disk's and MLflow's own have no common base
            if time.monotonic() - start > _SLOW:
                _paused_until[tracker.uri] = time.monotonic() + _PAUSE
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            warn_once(tracker, failure_message(tracker.uri, reason))
            return None

    return guarded


def failure_message(uri: str, reason: str) -> str:
    """The line that says why a store does not have everything; it holds no password."""
    where, why = without_password(uri), masked(reason, uri)[:240]
    return (
        f"not tracked in MLflow ({where}): {why}; the results on disk are whole, and "
        "`clplat track <folder>` logs them later"
    )


def warn_once(tracker: Destination, message: str) -> None:
    """Warn about a tracker's store, unless this process has done so already."""
    if tracker.uri not in _reported:
        _reported.add(tracker.uri)
        tracker.warn(message)
