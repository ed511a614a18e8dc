"""The rows of a sweep's table: means, intervals and measures of each method over its replicates."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from clplat.documents.tensors import read_tensors
from clplat.evaluation.significance import Replicate, interval
from clplat.measures import evaluate_measures, mean_of
from clplat.naming import flat
from clplat.roles import role_of
from clplat.sweep.layout import FinalRun, Layout

__all__ = ["Replicates", "Row", "replicate_of", "row_of"]

#: (seed, number or words of the stream order) -> what was measured of every query.
Replicates: TypeAlias = dict[tuple[int, int | str], Replicate]


@dataclass
class Row:
    """One line of the table, with what the tests need.

    Args:
        plain: as in ``sweep.json``.
        replicates: of its runs.
        untrained: the same of the models that its runs began with, as far as they are kept.
    """

    plain: dict[str, Any]
    replicates: Replicates
    untrained: Replicates = field(default_factory=dict)


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
    replicates: Replicates = {
        (f.seed, f.order): replicate_of(out / f.folder, done[f.folder]) for f in complete
    }
    kept = [final for final in complete if (out / final.folder / "values" / "0.safetensors").exists()]
    untrained: Replicates = {(f.seed, f.order): replicate_of(out / f.folder, done[f.folder], 0) for f in kept}
    score = interval(list(replicates.values()))
    measures = _measures([done[final.folder] for final in complete])
    means = {name: entry["mean"] for name, entry in measures.items() if entry is not None}
    means["final"] = score.mean
    feasible = all(excess <= 0 for excess in layout.sweep.excess(means).values())
    options = flat(first.entry.config.as_dict()) | first.params
    return Row(
        {
            "group": first.entry.group,
            "method": first.entry.method,
            "label": first.label,
            "strategy": first.entry.config.name("strategy"),
            "kind": first.kind,
            "bound": first.entry.control and role_of(done[complete[0].folder]) == "upper bound",
            "params": dict(first.params),
            "settings": {name: options.get(name) for name in _differing(layout)},
            "n": len(done),
            "score": {key: _rounded(getattr(score, key)) for key in ("mean", "sd", "low", "high")},
            "measures": measures,
            "split": split_of(done[complete[0].folder]),
            "chance": _chance(done[complete[0].folder]),
            "feasible": feasible if layout.sweep.constraints else None,
            "folders": [final.folder for final in complete],
        },
        replicates,
        untrained,
    )


def split_of(result: Mapping[str, Any]) -> str:
    """What a result was measured on; those that do not say it are of ``test``."""
    return str(result["protocol"].get("split", "test"))


def replicate_of(folder: Path, result: Mapping[str, Any], version: int = -1) -> Replicate:
    """What a version of a run, the last one unless named, measured of every query."""
    version = len(result["scores"]) - 1 if version < 0 else version
    values = read_tensors(folder / "values" / f"{version}.safetensors", "file of measured values")
    percent = {name: 100.0 * tensor.double().numpy() for name, tensor in values.items()}
    return Replicate(percent, result["fingerprints"]["queries"])


def _measures(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and deviation over replicates of every measure and of every retrieval metric's final mean."""
    columns: dict[str, list[float | None]] = {}
    for result in results:
        last = {metric: matrix[-1] for metric, matrix in result["metrics"].items() if matrix[-1]}
        finals = {metric: statistics.fmean(values) for metric, values in last.items()}
        for name, value in (evaluate_measures(result) | finals).items():
            columns.setdefault(name, []).append(value)
    del columns["final"]  # the score, which has an interval
    found: dict[str, Any] = {}
    for name, values in columns.items():
        known = [value for value in values if value is not None]
        spread = statistics.stdev(known) if len(known) > 1 else None
        found[name] = {"mean": _rounded(statistics.fmean(known)), "sd": _rounded(spread)} if known else None
    return found


def _chance(result: Mapping[str, Any]) -> float | None:
    """What an order at random would score; None where a result does not say."""
    return _rounded(mean_of((result.get("chance") or {}).get(result["protocol"]["primary"]) or []))


def _differing(layout: Layout) -> list[str]:
    """The options in which the methods of a sweep differ, beside what tuning chose."""
    options = [flat(entry.config.as_dict()) for entry in layout.entries if not entry.control]
    keys = dict.fromkeys(key for entry in options for key in entry)
    return [key for key in keys if len({str(entry.get(key)) for entry in options}) > 1]


def _rounded(value: float | None) -> float | None:
    """A number as it stands in ``sweep.json``."""
    return None if value is None else round(float(value), 6)
