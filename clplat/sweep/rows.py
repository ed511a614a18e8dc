"""The rows of a sweep's table: means, intervals and measures of each method over its replicates."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.evaluation.significance import Replicate, interval
from clplat.measures import MEASURES, evaluate_measures
from clplat.naming import flat
from clplat.roles import role_of
from clplat.sweep.layout import FinalRun, Layout
from clplat.trees import load_tree

__all__ = ["Row", "rounded", "row_of"]


@dataclass
class Row:
    """One line of the table, with what the tests need.

    Args:
        plain: as in ``sweep.json``.
        replicates: (seed, order) -> the values of its queries.
    """

    plain: dict[str, Any]
    replicates: dict[tuple[int, int], Replicate]


def row_of(
    layout: Layout, out: Path, finals: Sequence[FinalRun], done: Mapping[str, Mapping[str, Any]]
) -> Row:
    """One line of the table from the complete replicates of an entry.

    Args:
        out: folder of the sweep.
        finals: all replicates of the entry with one setting.
        done: folder -> result of those that are complete, at least one.
    """
    first, complete = finals[0], [final for final in finals if final.folder in done]
    replicates = {(f.seed, f.order): _replicate(out / f.folder, done[f.folder]) for f in complete}
    score = interval(list(replicates.values()))
    measures = _measures([done[final.folder] for final in complete])
    options = flat(first.entry.config.as_dict()) | first.params
    strategy = first.entry.config.name("strategy")
    return Row(
        {
            "group": first.entry.group,
            "method": first.entry.method,
            "label": first.label,
            "strategy": strategy,
            "kind": first.kind,
            "bound": first.entry.control and role_of(done[complete[0].folder]) == "upper bound",
            "params": dict(first.params),
            "settings": {name: options.get(name) for name in _differing(layout)},
            "n": len(done),
            "score": {key: rounded(getattr(score, key)) for key in ("mean", "sd", "low", "high")},
            "measures": measures,
            "feasible": _feasible(measures, layout.sweep.constraints),
            "folders": [final.folder for final in complete],
        },
        replicates,
    )


def _replicate(folder: Path, result: Mapping[str, Any]) -> Replicate:
    last = len(result["scores"]) - 1
    values = load_tree(folder / "values" / f"{last}.safetensors")
    percent = {name: 100.0 * tensor.double().numpy() for name, tensor in values.items()}
    return Replicate(percent, result["fingerprints"]["queries"])


def _measures(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and deviation over replicates of every measure and of every retrieval metric's final mean."""
    columns: dict[str, list[float | None]] = {name: [] for name in MEASURES if name != "final"}
    for result in results:
        for name, value in evaluate_measures(result).items():
            if name != "final":
                columns[name].append(value)
        for metric, matrix in result["metrics"].items():
            columns.setdefault(metric, []).append(statistics.fmean(matrix[-1]) if matrix[-1] else None)
    found: dict[str, Any] = {}
    for name, values in columns.items():
        known = [value for value in values if value is not None]
        spread = statistics.stdev(known) if len(known) > 1 else None
        found[name] = {"mean": rounded(statistics.fmean(known)), "sd": rounded(spread)} if known else None
    return found


def _feasible(measures: Mapping[str, Any], constraints: Mapping[str, float]) -> bool | None:
    if not constraints:
        return None
    met = []
    for name, limit in constraints.items():
        entry = measures.get(name)
        if entry is not None:
            lower = MEASURES[name].better == "lower"
            met.append(entry["mean"] <= limit if lower else entry["mean"] >= limit)
    return all(met)


def _differing(layout: Layout) -> list[str]:
    """The options in which the methods of a sweep differ, beside what tuning chose."""
    options = [flat(entry.config.as_dict()) for entry in layout.entries if not entry.control]
    keys = dict.fromkeys(key for entry in options for key in entry)
    return [key for key in keys if len({str(entry.get(key)) for entry in options}) > 1]


def rounded(value: float | None) -> float | None:
    """A number as it stands in ``sweep.json``."""
    return None if value is None else round(float(value), 6)
