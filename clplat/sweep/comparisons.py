"""Which differences between the rows of a sweep are significant, as data and in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clplat.evaluation.significance import holm, paired_differences
from clplat.sweep.rows import Row

__all__ = ["LEVEL", "UNTRAINED", "comparisons", "sentence", "told_apart"]

LEVEL = 0.05
UNTRAINED = "the untrained model"


def comparisons(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Paired tests within each group, in three families of their own.

    Contenders with each other; tuned with default; contenders with the untrained model of the same runs. A
    contender is the tuned row of a method, or its default one where there is no tuned one; never a control.
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
        found += _family(group, "untrained", [(row, _start(row)) for row in contenders if row.untrained])
    return found


def _start(row: Row) -> Row:
    """The untrained model of a row's runs, as if it were a row."""
    score = {"mean": float(np.mean([one.score for one in row.untrained.values()]))}
    return Row({"label": UNTRAINED, "score": score}, row.untrained)


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
    mine = [row for row in contenders if row["kind"] == "tuned" or row["method"] not in tuned]
    parts = [
        _ranking(mine, [c for c in found if c["family"] == "contenders"], _bound(mine[0], rows)),
        _trained([c for c in found if c["family"] == "untrained"]),
        _gains([c for c in found if c["family"] == "tuning"]),
    ]
    if min(row["n"] for row in contenders) == 1:
        parts.append("One seed: the intervals cover the choice of queries, not the luck of training")
    if splits := sorted({row.get("split", "test") for row in contenders} - {"test"}):
        parts.append(f"Measured on {_list(splits)}, not on test")
    return ". ".join(filter(None, parts)) + "."


def _ranking(rows: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]], bound: str) -> str:
    """Who cannot be told apart, and who is above whom; a method is best only if it is above all others."""
    score, labels = rows[0]["score"], [row["label"] for row in rows]
    mean = f"{score['mean']:.1f} (95 % interval {score['low']:.1f} to {score['high']:.1f}){bound}"
    if len(rows) == 1:
        return f"{labels[0]} reaches {mean}"
    above = {label: [c["a"] for c in pairs if c["b"] == label and c["real"]] for label in labels}
    compared = {c[side] for c in pairs for side in ("a", "b")}
    top = [label for label in labels if not above[label] and label in compared] or labels[:1]
    if top == labels[:1] and all(labels[0] in above[label] for label in labels[1:]):
        best = f"{labels[0]} is the best of {len(labels)} methods, {mean}: significantly above all others"
        return "; ".join([f"{best} (Holm, 5 %)", *_below(labels[1:], above, set(top))])
    if len(top) > 1:
        first = f"{_list(top)} are indistinguishable (Holm, 5 %); {labels[0]} has the highest mean, {mean}"
    else:
        first = f"{labels[0]} has the highest mean of {len(labels)} methods, {mean}"
    lone = [label for label in labels if label not in compared]
    apart = [f"not compared, for want of replicates in common: {_list(lone)}"] if lone else []
    return "; ".join([first, *_below(labels, above, set(), top), *apart])


def _below(
    labels: Sequence[str],
    above: Mapping[str, Sequence[str]],
    said: set[str],
    top: Sequence[str] = (),
) -> list[str]:
    """``A and B above C``, once for all that are below the same; but for those in ``said``."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for label in labels:
        if better := tuple(one for one in above if one in above[label] and one not in said):
            groups.setdefault(better, []).append(label)
    return [
        f"{'all' if len(top) > 1 and set(better) == set(top) else _list(better)} above {_list(lower)}"
        for better, lower in groups.items()
    ]


def _bound(best: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """How far the highest mean is from that of the upper bound."""
    bound = next((row for row in rows if row["kind"] == "control" and row.get("bound")), None)
    if bound is None:
        return ""
    gap = bound["score"]["mean"] - best["score"]["mean"]
    return f", {abs(gap):.1f} {'below' if gap >= 0 else 'above'} the bound ({bound['label']})"


def _trained(found: Sequence[Mapping[str, Any]]) -> str:
    """Which methods are above the model that they began with, where that was tested."""
    above = [c["a"] for c in found if c["b"] == UNTRAINED and told_apart(c)]
    rest = [c["b"] if c["a"] == UNTRAINED else c["a"] for c in found if c["a"] not in above]
    if not found or not rest:
        return f"Above {UNTRAINED}: {'all' if len(above) > 1 else above[0]}" if above else ""
    if not above:
        return f"No method is significantly above {UNTRAINED}"
    return f"Above {UNTRAINED}: {_list(above)}; not significantly: {_list(rest)}"


def told_apart(entry: Mapping[str, Any]) -> bool:
    """Whether a comparison tells its two sides apart: methods, or with one replicate these trained models."""
    return bool(entry["p_holm"] < LEVEL)


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
