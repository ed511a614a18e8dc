"""Which differences between the rows of a sweep are significant, as data and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.evaluation.significance import holm, paired_differences
from clplat.sweep.rows import Row

__all__ = ["LEVEL", "comparisons", "sentence"]

LEVEL = 0.05


def comparisons(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Paired tests within each group, in two families: contenders with each other, tuned with default.

    A contender is the tuned row of a method, or its default one where there is no tuned one; never a control.
    Within a family p-values are corrected by Holm's procedure; a single replicate makes nothing significant.
    """
    found = []
    for group in dict.fromkeys(row.plain["group"] for row in rows):
        mine = [row for row in rows if row.plain["group"] == group and row.plain["kind"] != "control"]
        methods = {row.plain["method"]: row for row in mine if row.plain["kind"] == "default"}
        tuned = {row.plain["method"]: row for row in mine if row.plain["kind"] == "tuned"}
        contenders = list((methods | tuned).values())
        pairs = [(a, b) for i, a in enumerate(contenders) for b in contenders[i + 1 :]]
        found += _family(group, "contenders", pairs)
        both = [(row, methods[name]) for name, row in tuned.items() if name in methods]
        found += _family(group, "tuning", both)
    return found


def _family(group: str, family: str, pairs: Sequence[tuple[Row, Row]]) -> list[dict[str, Any]]:
    tested = []
    for pair in pairs:
        a, b = sorted(pair, key=lambda row: -row.plain["score"]["mean"])
        if keys := [key for key in a.replicates if key in b.replicates]:
            tested.append((a, b, keys))
    differences = paired_differences(
        [([a.replicates[key] for key in keys], [b.replicates[key] for key in keys]) for a, b, keys in tested]
    )
    return [
        {
            "group": group,
            "family": family,
            "a": a.plain["label"],
            "b": b.plain["label"],
            "n": len(keys),
            "difference": round(difference.mean, 6),
            "low": round(difference.low, 6),
            "high": round(difference.high, 6),
            "p": difference.p,
            "p_holm": corrected,
            # One replicate each compares two trained models, not two methods.
            "real": corrected < LEVEL and len(keys) > 1,
        }
        for (a, b, keys), difference, corrected in zip(
            tested, differences, holm([difference.p for difference in differences]), strict=True
        )
    ]


def sentence(rows: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> str:
    """Which differences are significant, a sentence or two per group.

    Args:
        rows: of an outcome, best first within each group.
        found: its comparisons.
    """
    groups = dict.fromkeys(row["group"] for row in rows)
    return " ".join(
        (f"In {group}: " if group else "")
        + _group([row for row in rows if row["group"] == group], [c for c in found if c["group"] == group])
        for group in groups
    )


def _group(rows: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]]) -> str:
    contenders = [row for row in rows if row["kind"] != "control"]
    if not contenders:
        return "only controls are complete."
    tuned = {row["method"] for row in contenders if row["kind"] == "tuned"}
    best = next(row for row in contenders if row["kind"] == "tuned" or row["method"] not in tuned)
    pairs = [c for c in found if c["family"] == "contenders"]
    parts = [
        _best(best, len({row["method"] for row in contenders})) + _lead(best["label"], pairs),
        _other_differences(best["label"], pairs),
        _gains([c for c in found if c["family"] == "tuning"]),
    ]
    if min(row["n"] for row in contenders) == 1:
        parts.append("One seed: the intervals cover the choice of queries, not the luck of training")
    return ". ".join(filter(None, parts)) + "."


def _best(best: Mapping[str, Any], methods: int) -> str:
    verb = f"has the best mean of {methods} methods," if methods > 1 else "reaches"
    score = best["score"]
    interval = f"(95 % interval {score['low']:.1f} to {score['high']:.1f})"
    return f"{best['label']} {verb} {score['mean']:.1f} {interval}"


def _lead(label: str, pairs: Sequence[Mapping[str, Any]]) -> str:
    """What the best one is better than."""
    beaten = [c["b"] for c in pairs if c["a"] == label and c["real"]]
    equal = [c["b"] for c in pairs if c["a"] == label and not c["real"]]
    text = f"; it is significantly better (Holm, 5 %) than {_list(beaten)}" if beaten else ""
    if equal:
        text += f"; {'but' if beaten else 'yet'} its lead over {_list(equal)} may be chance"
    return text


def _other_differences(label: str, pairs: Sequence[Mapping[str, Any]]) -> str:
    others = [f"{c['a']} over {c['b']}" for c in pairs if c["real"] and c["a"] != label]
    return f"Also significant: {', '.join(others)}" if others else ""


def _gains(tuning: Sequence[Mapping[str, Any]]) -> str:
    """What tuning helped, where anything was tuned."""
    helped = [c["a"] for c in tuning if c["real"] and "(tuned)" in c["a"]]
    if helped:
        return f"Tuning significantly helped {_list(helped)}"
    return "Tuning helped no method significantly" if tuning else ""


def _list(names: Sequence[str]) -> str:
    if any("," in name for name in names):
        names = [f"'{name}'" for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
