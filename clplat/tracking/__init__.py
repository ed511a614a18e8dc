"""Tracking: results into MLflow, comparisons and links out of it. Plain data, no torch; MLflow loads late."""

from __future__ import annotations

from clplat.tracking.compare import compared, comparison, from_results
from clplat.tracking.log_state import is_logged
from clplat.tracking.server import links, serve
from clplat.tracking.store import tracking_uri
from clplat.tracking.tracker import Tracker, log_result
from clplat.tracking.views import leaderboard_link

__all__ = [
    "Tracker",
    "compared",
    "comparison",
    "from_results",
    "is_logged",
    "leaderboard_link",
    "links",
    "log_result",
    "serve",
    "tracking_uri",
]
