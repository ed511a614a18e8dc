"""Whether a sweep has a champion: its best model must be above the untrained and the present one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clplat.documents.result import read_result
from clplat.errors import UserError
from clplat.evaluation.significance import paired_differences
from clplat.sweep.comparisons import LEVEL, UNTRAINED, told_apart
from clplat.sweep.rows import replicate_of

__all__ = ["contender", "why_not"]


def contender(outcome: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The row of the best contender that meets the limits; None in a sweep with several groups."""
    ahead = [row for row in outcome["rows"] if row["kind"] != "control" and row["feasible"] is not False]
    if not ahead or len({row["group"] for row in outcome["rows"]}) > 1:
        return None
    best: Mapping[str, Any] = max(ahead, key=lambda row: float(row["score"]["mean"]))
    return best


def why_not(outcome: Mapping[str, Any], out: Path, present: str | None) -> str:
    """Why the best contender's first run is no champion; empty if it is.

    Args:
        outcome: of a sweep with a `contender`.
        out: its folder.
        present: folder of the run whose model is the champion now; None where there is none.
    """
    best = contender(outcome)
    assert best is not None
    label, folder = best["label"], out / best["folders"][0]
    start = [c for c in outcome["comparisons"] if c["family"] == "untrained" and label in (c["a"], c["b"])]
    if not any(c["a"] == label and told_apart(c) for c in start):
        return f"{label} is not significantly above {UNTRAINED}"
    if present is None or Path(present) == folder.resolve():
        return ""
    here = {str((out / name).resolve()): row["label"] for row in outcome["rows"] for name in row["folders"]}
    if present in here and here[present] != label:
        pairs = [c for c in outcome["comparisons"] if {c["a"], c["b"]} == {label, here[present]}]
        if any(c["a"] == label and told_apart(c) for c in pairs if c["family"] != "untrained"):
            return ""
        return f"{label} is not significantly above the present champion, {here[present]}"
    return _against(folder, Path(present), label)


def _against(folder: Path, present: Path, label: str) -> str:
    """Of two trained models, on the queries that both have answered."""
    again = "remove the alias from the registered model to begin anew"
    try:
        ours, theirs = (replicate_of(one, read_result(one / "result.json")) for one in (folder, present))
        (found,) = paired_differences([([ours], [theirs])])
    except (UserError, ValueError, OSError, KeyError):
        return f"{label} and the present champion, {present}, did not answer the same queries; {again}"
    if found.p < LEVEL and found.mean > 0:
        return ""
    return f"{label} is not significantly above the present champion, {present}"
