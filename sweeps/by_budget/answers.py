"""The answer of the page in words: every number in it is read from an entry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sweeps.by_budget.cells import FROZEN, MIDDLE, REFERENCE
from sweeps.by_budget.reading import Line, Row, final, flops, front, kept
from sweeps.by_budget.sizes import BUDGETS

__all__ = ["answers"]

_NAMED = 3
#: Of the time of a query: what is within the noise of timing.
_NOTHING = 1.05


def answers(lines: Sequence[Line], latency: Mapping[str, Any]) -> list[str]:
    """A paragraph for each kind of budget, as far as it has run."""
    trained = [line for line in lines if line.name != FROZEN]
    bare = next((line.sized.get(None) for line in lines if line.name == FROZEN), None)
    found = [_of_weights(trained, bare), _of_operations(trained), _of_time(trained, latency)]
    return [part for text in found if text for part in (text, "")]


def _of_weights(lines: Sequence[Line], bare: Row | None) -> str:
    said = [f"The model as it came has {final(bare):.1f}."] if bare else []
    for budget in BUDGETS:
        rows = {line.name: line.sized[budget] for line in lines if budget in line.sized}
        if rows:
            said.append(f"At {100 * budget:g} %: {_first(rows)}{_of_reference(rows)}.")
    every = [
        (100 * row["share"], final(row), f"{line.name} at {100 * row['share']:.2g} %")
        for line in lines
        for row in line.sized.values()
    ]
    best = ", ".join(f"{name} ({value:.1f})" for _, value, name in front(every))
    return f"**Trained numbers.** {' '.join(said)} Nothing smaller is better than: {best}." if every else ""


def _of_operations(lines: Sequence[Line]) -> str:
    rows = {line.name: line.paid for line in lines if line.paid is not None}
    if not rows:
        return ""
    reference = next((line.middle for line in lines if line.name == REFERENCE), None)
    cheap = ""
    if reference is not None:
        few = [
            line.name
            for line in lines
            if line.middle and line.middle["trained"] and flops(line.middle) < 0.5 * flops(reference)
        ]
        cheap = f" Less than half of LoRA's operations with its epochs: {_listed(few)}."
    said = f"With as many as LoRA at {100 * MIDDLE:g} %: {_first(rows)}{_of_reference(rows)}."
    return f"**Operations.** {said}{cheap}"


def _of_time(lines: Sequence[Line], latency: Mapping[str, Any]) -> str:
    rows = {line.name: line.middle for line in lines if line.middle is not None and line.name in latency}
    if not rows:
        return ""
    free = {name: row for name, row in rows.items() if row["mergeable"] or latency[name]["ratio"] <= _NOTHING}
    slow = max(rows, key=lambda name: latency[name]["ratio"])
    return (
        f"**Time of a query.** Of those that merge or add less than {100 * (_NOTHING - 1):.0f} % to it: "
        f"{_first(free)}. The slowest, {slow}, takes {latency[slow]['ratio']:.2f} times the bare model's."
    )


def _first(rows: Mapping[str, Row]) -> str:
    """The best few by recall, and the one that keeps most of what is not worse than the reference."""
    order = sorted(rows, key=lambda name: (-final(rows[name]), name))
    return (
        ", ".join(f"{name} ({final(rows[name]):.1f}{_kept(rows[name])})" for name in order[:_NAMED]) or "none"
    )


def _of_reference(rows: Mapping[str, Row]) -> str:
    reference = rows.get(REFERENCE)
    if reference is None:
        return ""
    known = {
        name: left
        for name, row in rows.items()
        if (left := kept(row)) is not None and final(row) >= final(reference)
    }
    said = f"; LoRA {final(reference):.1f}{_kept(reference)}"
    if not known:
        return said
    most = max(known, key=lambda name: (known[name], name))
    return f"{said}; of those not below LoRA {most} keeps most, {known[most]:.0f} %"


def _kept(row: Row) -> str:
    left = kept(row)
    return "" if left is None else f", {left:.0f} % kept"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
