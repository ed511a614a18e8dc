"""The table of an evaluation: a line for each composer, of the mean over domains, of each domain and set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.result_values import mean_of
from clplat.tables.text import mean_text

__all__ = ["evaluation_table"]

#: What a line of the mean over domains is called.
MEAN = "all (mean)"


def evaluation_table(result: Mapping[str, Any]) -> tuple[list[str], list[list[str]], int]:
    """What `clplat.tables.text` lays out of an evaluation (``docs/result.md``).

    Sets with hidden labels have no lines. A metric that a domain does not measure is a dash.

    Returns:
        Head, lines, and how many columns are words.

    Example:
        >>> held = {"metrics": {"sum": {"R@1": [50.0, 25.0]}}, "chance": {"R@1": [1.0, 1.0]}}
        >>> sets = {"test": {**held, "protocol": {"metrics": ["R@1"]}}}
        >>> result = {"domains": ["bag", "top"], "composers": ["sum"], "sets": sets}
        >>> head, lines, words = evaluation_table(result)
        >>> head, lines[0]
        (['domain', 'composer', 'R@1'], ['all (mean)', 'sum', '37.5'])
    """
    known = {name: held for name, held in result["sets"].items() if held["metrics"]}
    # In the order of the protocol: that of keys is lost where they are sorted on disk.
    metrics = list(dict.fromkeys(metric for held in known.values() for metric in _metrics(held)))
    several = len(known) > 1, len(result["domains"]) > 1
    head = ["set"] * several[0] + ["domain"] * several[1] + ["composer", *metrics]
    body = [
        [name] * several[0] + [domain] * several[1] + line
        for name, held in known.items()
        for domain, place in _places(result["domains"], held)
        for line in _lines(held, result["composers"], metrics, place)
    ]
    return head, body, 1 + sum(several)


def _places(domains: Sequence[str], held: Mapping[str, Any]) -> list[tuple[str, int | None]]:
    """The domains that a set has, by place; before them their mean, None, where there are several."""
    one = next(iter(held["metrics"].values()))
    there = [i for i in range(len(domains)) if any(column[i] is not None for column in one.values())]
    mean: list[tuple[str, int | None]] = [(MEAN, None)] if len(there) > 1 else []
    return [*mean, *((domains[i], i) for i in there)]


def _metrics(held: Mapping[str, Any]) -> list[str]:
    return [*held["protocol"]["metrics"], *(name for one in held["metrics"].values() for name in one)]


def _lines(
    held: Mapping[str, Any], composers: Sequence[str], metrics: Sequence[str], place: int | None
) -> list[list[str]]:
    rows = {who: held["metrics"][who] for who in composers if who in held["metrics"]}
    rows |= {"chance": held["chance"]}
    return [[who, *(_cell(one.get(metric), place) for metric in metrics)] for who, one in rows.items()]


def _cell(column: Sequence[float | None] | None, place: int | None) -> str:
    if column is None:
        return mean_text(None, 1)
    return mean_text(mean_of(column) if place is None else column[place], 1)
