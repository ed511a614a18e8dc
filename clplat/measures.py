"""What a sweep may maximise, hold below a limit or show: one number of a result, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from clplat.errors import unknown_name

__all__ = ["MEASURES", "Measure", "measure", "measured"]

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """A number that a result, complete or running, has after its newest row.

    Args:
        name: how it is asked for.
        words: what it is, with its unit.
        better: ``"higher"`` or ``"lower"``.
        value: of a result; None where it is undefined.
    """

    name: str
    words: str
    better: str
    value: Callable[[Result], float | None]


def _final(result: Result) -> float | None:
    """``mean_j R[T][j]`` of the primary metric: all domains of the stream after the newest experience."""
    rows = result["metrics"].get(result["protocol"]["primary"]) or []
    return sum(rows[-1]) / len(rows[-1]) if rows else None


def _stability(result: Result) -> float | None:
    """``mean_{j<T} R[T][j]``, T - 1 domains: the primary metric on all trained domains but the newest."""
    rows = result["metrics"].get(result["protocol"]["primary"]) or []
    earlier = rows[-1][: max(0, len(rows) - 2)] if rows else []
    return sum(earlier) / len(earlier) if earlier else None


def _score(name: str) -> Callable[[Result], float | None]:
    return lambda result: (result["scores"][-1] if result["scores"] else {}).get(name)


def _cost(name: str) -> Callable[[Result], float | None]:
    return lambda result: result["cost"].get(name)


def _seconds(result: Result) -> float | None:
    spent = result["measured"]
    return float(spent["train_seconds"] + spent["evaluation_seconds"])


MEASURES = {
    m.name: m
    for m in (
        Measure("final", "primary metric over all domains after the last, percent", "higher", _final),
        Measure("seen", "primary metric over the domains trained, percent", "higher", _score("acc_last")),
        Measure(
            "plasticity", "each domain right after its training, percent", "higher", _score("plasticity")
        ),
        Measure("stability", "the earlier domains after the last, percent", "higher", _stability),
        Measure(
            "forgetting", "best ever minus now, earlier domains, points", "lower", _score("forgetting_max")
        ),
        Measure("bwt", "backward transfer, points", "higher", _score("bwt")),
        Measure("fwt", "forward transfer, points", "higher", _score("fwt_init")),
        Measure("zero_shot", "what is left outside the stream, percent", "higher", _score("zs_retention")),
        Measure("AC", "share of compatible pairs of versions", "higher", _score("AC")),
        Measure("update_gain", "gain in old indexes, share of the new", "higher", _score("update_gain_own")),
        Measure(
            "backfill", "gallery vectors that the last update changed, percent", "lower", _score("backfill")
        ),
        Measure("trainable_parameters", "numbers that are trained", "lower", _cost("trainable_parameters")),
        Measure("training_flops", "floating-point operations of training", "lower", _cost("training_flops")),
        Measure("exemplar_bytes", "bytes of kept pictures and texts", "lower", _cost("exemplar_bytes")),
        Measure("bytes_per_item", "bytes of a stored gallery vector", "lower", _cost("bytes_per_item")),
        Measure("seconds", "of training and measuring", "lower", _seconds),
    )
}


def measure(name: str) -> Measure:
    """A measure by name.

    Raises:
        UserError: there is none of that name; the nearest is offered.

    Example:
        >>> measure("forgetting").better
        'lower'
    """
    if name not in MEASURES:
        raise unknown_name("measure", name, MEASURES)
    return MEASURES[name]


def measured(result: Result) -> dict[str, float | None]:
    """Every measure of a result, by name, in the order of `MEASURES`."""
    return {name: entry.value(result) for name, entry in MEASURES.items()}
