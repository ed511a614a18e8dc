"""What a result holds, of this release or an earlier one: means, scores after a row, series of probes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

__all__ = [
    "Result", "final_of", "mean_of", "probes_about", "routed_right", "scores_after", "seconds_of",
    "stability_of", "zero_shot_series",
]  # fmt: skip

Result: TypeAlias = Mapping[str, Any]


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of the values that are known; None if there is none.

    Example:
        >>> mean_of([1.0, None, 3.0])
        2.0
    """
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def final_of(result: Result) -> float | None:
    """``mean_j R[T][j]`` of the primary metric: all domains of the stream after the newest experience."""
    rows = result["metrics"].get(result["protocol"]["primary"])
    return mean_of(rows[-1]) if rows else None


def stability_of(result: Result) -> float | None:
    """``mean_{j<T} R[T][j]``, T - 1 domains: the primary metric on all trained domains but the newest."""
    rows = result["metrics"].get(result["protocol"]["primary"]) or []
    return mean_of(rows[-1][: max(0, len(rows) - 2)]) if rows else None


def routed_right(result: Result) -> float | None:
    """How often a router chose an expert of the right domain, in percent; None without experts."""
    rows: list[float | None] = (result.get("probes") or {}).get("routing", {}).get("accuracy") or [None]
    return rows[-1]


def seconds_of(result: Result) -> float:
    """Training and measuring."""
    return float(result["measured"]["train_seconds"] + result["measured"]["evaluation_seconds"])


def scores_after(result: Result, row: int) -> dict[str, float | None]:
    """The scores after ``row`` domains; none where there is no such row.

    Before `zs_lost` was kept apart, the forgetting of a result counted it too: there both are measured anew.
    """
    held = result.get("scores") or []
    scores = dict(held[row]) if 0 <= row < len(held) else {}
    R = (result.get("metrics") or {}).get((result.get("protocol") or {}).get("primary")) or []
    if "zs_lost" not in scores and "forgetting_max" in scores and row < len(R):
        # As `clplat.evaluation.continual`, which lies above, has them.
        best = [max(held[j] for held in R[j + 1 : row + 1]) for j in range(row - 1)]
        before = [max(held[j] for held in R[: j + 1]) for j in range(row)]
        scores["forgetting_max"] = mean_of(b - now for b, now in zip(best, R[row], strict=False))
        scores["zs_lost"] = mean_of(max(0.0, b - now) for b, now in zip(before, R[row], strict=False))
    return scores


def zero_shot_series(result: Result) -> list[list[Any]]:
    """The headline of every zero-shot probe, one value per row."""
    probes, about = result.get("probes") or {}, probes_about(result)
    heads = {name: about[name]["headline"] for name in probes if about[name]["group"] == "zero-shot"}
    return [probes[name][head] for name, head in heads.items() if head in probes[name]]


def probes_about(result: Result) -> dict[str, dict[str, Any]]:
    """How each probe is read; before there were groups: R@1 of retrieval, accuracy of classification."""
    usual = {"group": "zero-shot", "better": "higher", "unit": "percent"}
    return {
        name: {**usual, "headline": "accuracy" if "accuracy" in metrics else "R@1"}
        for name, metrics in (result.get("probes") or {}).items()
    } | (result.get("probes_about") or {})
