"""Names of the metrics of queries, ``R_sub@3``: what is measured, over what, and the cut-off."""

from __future__ import annotations

import re

__all__ = ["METRIC", "METRICS", "OVER", "meaning_of"]

METRICS = {
    "R": "a right answer is among the first {k}",
    "mAP": "average precision of the first {k}",
    "MRR": "1 / (rank + 1) of the best-placed right answer",
}
OVER = {
    "": "the whole gallery",
    "sub": "the query's own candidates",
    "main": "the main answer alone, other right answers being rivals",
}
METRIC = re.compile(rf"({'|'.join(METRICS)})(?:_({'|'.join(filter(None, OVER))}))?(?:@([1-9]\d*))?")


def meaning_of(name: str) -> str:
    """What a metric says, in words; empty where the name is none.

    Example:
        >>> meaning_of("R_sub@3")
        "a right answer is among the first 3; the query's own candidates"
    """
    found = METRIC.fullmatch(name)
    if found is None or (found[1] == "MRR") != (found[3] is None):
        return ""
    return METRICS[found[1]].format(k=found[3]) + (f"; {OVER[found[2]]}" if found[2] else "")
