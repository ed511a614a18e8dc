"""What an order drawn at random measures on average: the level that a model must leave to know anything.

Of G candidates t are right. A place holds a right answer with chance t / G, and a second place with chance
(t - 1) / (G - 1) where the first does. The best-placed right answer is beyond the first r places with chance

    B(r) = C(G - t, r) / C(G, r),

so that on average

    R@K  = 1 - B(K)
    MRR  = sum_{r>=1} (B(r - 1) - B(r)) / r
    AP@K = 1 / min(t, K) sum_{i<=K} (1 / i) (t / G) (1 + (i - 1) (t - 1) / (G - 1)).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from torch import Tensor

from clplat.data.protocol import Metric, metrics_in
from clplat.data.records import RetrievalSet
from clplat.evaluation.asked import Asked, asked
from clplat.evaluation.significance import Replicate, interval

__all__ = ["chance_levels", "chance_of", "chance_warning"]


@cache
def chance_of(metric: str, candidates: int, targets: int) -> float:
    """The mean of a metric of one query, 0 to 1, over all orders of its candidates.

    Args:
        metric: ``R@K``, ``mAP@K`` or ``MRR``, whatever it is measured over.
        candidates: G, the right answers among them.
        targets: t >= 1 right answers.

    Raises:
        ValueError: no such metric, fewer candidates than right answers.

    Example:
        >>> round(chance_of("R@5", 200, 1), 4), round(chance_of("MRR", 3, 1), 4)  # (1 + 1/2 + 1/3) / 3
        (0.025, 0.6111)
    """
    named, G, t = Metric(metric), candidates, targets
    if not 1 <= t <= G:
        raise ValueError(f"{t} right answers among {G} candidates")
    places = min(named.k or G, G)
    if named.of == "mAP":
        again = (t - 1) / (G - 1) if G > 1 else 0.0
        return sum((1 + (i - 1) * again) / i for i in range(1, places + 1)) * t / G / min(t, named.k)
    beyond, reciprocal = 1.0, 0.0
    for r in range(1, places + 1):
        before, beyond = beyond, beyond * max(G - t - r + 1, 0) / (G - r + 1)
        reciprocal += (before - beyond) / r
        if beyond == 0.0:
            break
    return reciprocal if named.of == "MRR" else 1.0 - beyond


def chance_levels(held: RetrievalSet, rows: Asked | None = None) -> dict[str, float]:
    """Every metric of a set's protocol, the primary one too, of a random order: percent, mean over queries.

    Args:
        held: with known labels.
        rows: of ``held``, if they are at hand.

    Example:
        >>> from clplat import registry
        >>> domains, _ = registry.load("scenarios", "catalogue")(domains=1, gallery=200, queries=20).build()
        >>> round(chance_levels(domains[0].test)["R@5"], 1)  # of 199, without the query's own, two are right
        5.0
    """
    rows = rows or asked(held)
    sizes = {over: _sizes(held, rows, over) for over in {metric.over for metric in held.protocol.measured}}
    found = {}
    for metric in held.protocol.measured:
        pairs = sizes[metric.over]
        found[metric.name] = 100.0 * sum(chance_of(metric.plain, G, t) for G, t in pairs) / len(pairs)
    parts = [found[metric.name] for metric in metrics_in(held.protocol.primary)]
    return found | {held.protocol.primary: sum(parts) / len(parts)}


def chance_warning(result: Mapping[str, Any], values: Mapping[str, Tensor]) -> str:
    """A line where a model is no more above chance than luck with the queries makes it; else nothing.

    Args:
        result: names its primary metric, and the chance levels of all.
        values: domain -> (Q,) primary metric of every query by the model, 0 to 1.
    """
    primary = result["protocol"]["primary"]
    levels = result["chance"].get(primary)  # results begun with an earlier release have none
    one = Replicate({name: 100.0 * v.double().cpu().numpy() for name, v in values.items()}, "")
    if not levels or interval([one]).low > sum(levels) / len(levels):
        return ""
    where = f"{primary} {one.score:.1f}, chance {sum(levels) / len(levels):.1f}"
    return (
        f"the untrained model is at chance ({where}): it knows nothing of these pictures. Take a real CLIP, "
        "by name (--backbone ViT-B-32 --backbone.pretrained openai) or folder (--backbone local-dir:FOLDER), "
        "or teach a small one first: clplat pretrain --source FOLDER"
    )


def _sizes(held: RetrievalSet, rows: Asked, over: str) -> list[tuple[int, int]]:
    """(candidates, right answers) of every query."""
    count = len(held.gallery.items)
    assert rows.targets is not None, "a set with hidden labels is never scored"
    goals = rows.main[:, None] if over == "main" and rows.main is not None else rows.targets
    found = []
    for q in range(len(held.queries)):
        pool = _named(rows.candidates, q) if over == "sub" and rows.candidates is not None else None
        hidden, right = _named(rows.exclude, q), _named(goals, q)
        if pool is None:
            found.append((count - len(hidden), len(right)))
        else:
            found.append((len(pool - hidden), len(right & pool)))
    return found


def _named(rows: Tensor | None, query: int) -> set[int]:
    return set() if rows is None else {row for row in rows[query].tolist() if row >= 0}
