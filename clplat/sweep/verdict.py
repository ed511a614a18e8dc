"""Which differences between the rows of a sweep are real, as data and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from clplat.evaluation.significance import Replicate, holm, paired_differences

__all__ = ["LEVEL", "comparisons", "sentence"]

LEVEL = 0.05


class _Row(Protocol):
    plain: dict[str, Any]
    replicates: dict[tuple[int, int], Replicate]


def comparisons(rows: Sequence[_Row]) -> list[dict[str, Any]]:
    """Paired tests within each group, in two families: contenders with each other, tuned with default.

    A contender is each method's tuned row, or its default one where there is no tuned one; a control is none.
    Within a family p-values are corrected by Holm's procedure; nothing is real from a single replicate.
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


def _family(group: str, family: str, pairs: Sequence[tuple[_Row, _Row]]) -> list[dict[str, Any]]:
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
    """Which differences are real, a sentence or two a group."""
    said = []
    for group in dict.fromkeys(row["group"] for row in rows):
        mine = [row for row in rows if row["group"] == group]
        said.append(_group(mine, [c for c in found if c["group"] == group], group))
    return " ".join(said)


def _group(rows: Sequence[Mapping[str, Any]], found: Sequence[Mapping[str, Any]], group: str) -> str:
    where = f"In {group}: " if group else ""
    pairs = [c for c in found if c["family"] == "contenders"]
    ahead = [row for row in rows if row["kind"] != "control"]
    if not ahead:
        return f"{where}only controls are complete."
    tuned = {row["method"] for row in ahead if row["kind"] == "tuned"}
    best = next(row for row in ahead if row["kind"] == "tuned" or row["method"] not in tuned)
    score = best["score"]
    count = len({row["method"] for row in ahead})
    text = f"{where}{best['label']} " + (f"has the best mean of {count} methods," if count > 1 else "reaches")
    text += f" {score['mean']:.1f} (95 % interval {score['low']:.1f} to {score['high']:.1f})"
    beaten = [c["b"] for c in pairs if c["a"] == best["label"] and c["real"]]
    equal = [c["b"] for c in pairs if c["a"] == best["label"] and not c["real"]]
    if beaten:
        text += f"; it is really better than {_list(beaten)}"
    if equal:
        text += f"; {'but' if beaten else 'yet'} its lead over {_list(equal)} may be chance"
    others = [c for c in pairs if c["real"] and c["a"] != best["label"]]
    if others:
        text += ". Also real: " + ", ".join(f"{c['a']} over {c['b']}" for c in others)
    gains = [c for c in found if c["family"] == "tuning"]
    helped = [c["a"] for c in gains if c["real"] and "(tuned)" in c["a"]]
    if gains:
        text += (
            f". Tuning really helped {_list(helped)}" if helped else ". Tuning helped no method for certain"
        )
    n = min(row["n"] for row in ahead)
    if n == 1:
        text += ". One seed: the intervals cover the choice of queries, not the luck of training"
    return text + "."


def _list(names: Sequence[str]) -> str:
    if any("," in name for name in names):
        names = [f"'{name}'" for name in names]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
