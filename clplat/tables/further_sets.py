"""What a run measured beside its table: further sets of queries, and what a post-processor makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from clplat.tables.text import aligned

__all__ = ["further_sets"]


def further_sets(result: Mapping[str, Any]) -> str:
    """A line a set: its primary metric, mean over domains by the newest version, and the gain of processing.

    Empty where there are no further sets, or none with labels.

    Example:
        >>> held = {"protocol": {"primary": "R@5"}, "metrics": {"R@5": [[40.0, None], [50.0, 54.0]]}}
        >>> held["gain"] = {"R@5": [[0.0, None], [2.0, 5.0]]}
        >>> print(further_sets({"sets": {"test/processed": held}}))
        further set           gain
        test/processed  R@5  52.0  +3.5
    """
    body = []
    for name, held in result.get("sets", {}).items():  # which results of release 0.1.0 lack
        primary = held["protocol"]["primary"]
        score, gain = (_last(values.get(primary)) for values in (held["metrics"], held.get("gain", {})))
        if score is not None:
            body.append([name, primary, f"{score:.1f}", "–" if gain is None else f"{gain:+.1f}"])
    return aligned(["further set", "", "", "gain"], body, 2) if body else ""


def _last(rows: Sequence[Sequence[float | None]] | None) -> float | None:
    found = [value for value in rows[-1] if value is not None] if rows else []
    return fmean(found) if found else None
