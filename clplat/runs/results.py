"""The result of an experiment as it grows: plain data, one row per model version (``docs/result.md``)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

from clplat import provenance
from clplat.evaluation.compatibility import compatibility_scores
from clplat.evaluation.continual import continual_scores, zs_drop, zs_retention
from clplat.evaluation.evaluator import VersionMetrics
from clplat.measures import zero_shot_series
from clplat.runs.assembly import Assembly
from clplat.training.trainer import Trainer

#: Of a tower in a step, in pictures or texts of its batch.
PASSES = tuple(
    f"{tower}_{kind}" for tower in ("image", "text") for kind in ("forward", "backward", "no_grad")
)
#: The tables of a further view of the embeddings.
_VIEW: dict[str, Any] = {"metrics": {}, "tags": {}, "baselines": {}, "ties": [], "compatibility": {}}


def add_row(
    result: dict[str, Any],
    row: VersionMetrics,
    cells: Mapping[str, Sequence[float | None]],
    backfill: float | None,
    views: Mapping[str, Mapping[str, Sequence[float | None]]] | None = None,
) -> None:
    """Append what was measured of one model version, and every score up to it.

    Args:
        result: grows in place.
        row: of R and of the probes.
        cells: metric -> row of C, as long as versions are known.
        backfill: the share in percent of gallery vectors that this version changed.
        views: the cells of each further view.
    """
    version = len(result["scores"])
    _add_tables(result, row, cells, version)
    for name, seen in row.views.items():
        view = result["views"].setdefault(name, copy.deepcopy(_VIEW))
        _add_tables(view, seen, (views or {})[name], version)
        view["bytes_per_item"] = seen.bytes_per_item
    for name in dict.fromkeys([*result["probes"], *row.probes]):
        _append(result["probes"].setdefault(name, {}), row.probes.get(name, {}), version)
    for name, further in row.sets.items():
        _append(result["sets"][name]["metrics"], further.metrics, version)
        result["sets"][name]["ties"].append(further.ties)
    result["scores"].append(rounded(_scores(result) | {"backfill": backfill}))
    # A head may make what is stored smaller than the towers' embeddings.
    result["cost"]["bytes_per_item"] = row.bytes_per_item


def _add_tables(
    result: dict[str, Any], row: VersionMetrics, cells: Mapping[str, Sequence[float | None]], version: int
) -> None:
    """Append to the tables that every view of the embeddings has."""
    _append(result["metrics"], row.metrics, version)
    for group, new in (("tags", row.tags), ("baselines", row.baselines)):
        for name in dict.fromkeys([*result[group], *new]):
            _append(result[group].setdefault(name, {}), new.get(name, {}), version)
    result["ties"].append(row.ties)
    for known in result["compatibility"].values():
        for earlier in filter(None, known):
            earlier.append(None)
    _append(result["compatibility"], cells, version)


def _append(tables: dict[str, Any], new: Mapping[str, Any], version: int) -> None:
    """One more row of every table; None where a version has no number."""
    for metric in dict.fromkeys([*tables, *new]):
        rows = tables.setdefault(metric, [None] * version)
        rows.append(rounded(new.get(metric)))


def _scores(result: Mapping[str, Any]) -> dict[str, Any]:
    primary = result["protocol"]["primary"]
    scores: dict[str, Any] = dict(continual_scores(result["metrics"][primary]))
    scores |= compatibility_scores(result["compatibility"][primary], gaps=True)
    series = [values for values in zero_shot_series(result) if None not in values[:1] + values[-1:]]
    for name, score in (("zs_retention", zs_retention), ("zs_drop", zs_drop)):
        known = [value for value in map(score, series) if value is not None]
        scores[name] = sum(known) / len(known) if known else None
    return scores


def add_gains(result: dict[str, Any], names: Sequence[str]) -> None:
    """What a post-processor brought in these sets: ``gain``, R after it less R before it, cell by cell."""
    for name in names:
        held = result["sets"][name]
        held["gain"] = {
            metric: [
                _less(after, before) for after, before in zip(rows, result["metrics"][metric], strict=True)
            ]
            for metric, rows in held["metrics"].items()
            if metric in result["metrics"]
        }


def _less(after: Sequence[float | None] | None, before: Sequence[float | None] | None) -> Any:
    if after is None or before is None:
        return None
    pairs = zip(after, before, strict=True)
    return rounded([None if a is None or b is None else a - b for a, b in pairs])


def add_processed(
    held: dict[str, Any], cells: Sequence[Mapping[str, float]], crowding: Mapping[str, Sequence[float]]
) -> None:
    """Append a row of C after a post-processor: ``compatibility`` of the set, without what lies above.

    Args:
        held: the set.
        cells: of C.
        crowding: before and after it, by the newest version.
    """
    held["crowding"] = {name: rounded([*pair]) for name, pair in crowding.items()}
    for metric in dict.fromkeys(name for cell in cells for name in cell):
        rows = held.setdefault("compatibility", {}).setdefault(metric, [])
        rows.append(rounded([cell.get(metric) for cell in cells]))


def add_numbers(result: dict[str, Any], numbers: Mapping[str, float]) -> None:
    """Append a strategy's own numbers to those of earlier rows; the row itself is there already."""
    _append(result["numbers"], numbers, len(result["scores"]) - 1)


def add_costs(result: dict[str, Any], parts: Assembly, trainer: Trainer) -> None:
    """Bring the costs and the loss curves up to the trainer's last step."""
    parameters, cost = list(parts.retriever.parameters()), result["cost"]
    known = {id(p) for p in (*parameters, *trainer.task.parameters())}
    held = [p for group in trainer.optimizer.param_groups for p in group["params"] if id(p) not in known]
    # What was trained and is no part of the model any more counts, as scores that have become a mask.
    trainable = sum(p.numel() for p in (*parameters, *held) if p.requires_grad) if trainer.step else 0
    cost["trainable_parameters"] = max(cost.get("trainable_parameters", 0), trainable)
    cost["total_parameters"] = sum(p.numel() for p in parameters)
    cost["training_flops"] = trainer.flops
    cost["domain_flops"] = trainer.flops_between
    cost |= {name: round(trainer.passes[name] / max(1, trainer.step), 4) for name in PASSES}
    cost["optimizer_steps"] = trainer.step
    cost["exemplar_bytes"] = parts.strategy.memory_bytes()
    cost["state_bytes"] = parts.strategy.state_bytes()
    result["training"] = _curves(trainer.losses)
    peak = provenance.peak_memory_bytes()
    result["measured"]["peak_memory_bytes"] = max(result["measured"].get("peak_memory_bytes", 0), peak)


def rounded(value: Any) -> Any:
    """Percentages to six decimals: more would only be noise of the last bits in a diff."""
    if isinstance(value, Mapping):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def _curves(losses: Sequence[Mapping[str, float]], points: int = 200) -> dict[str, list[Any]]:
    """Loss terms over the whole stream, averaged into at most ``points`` equal stretches of steps."""
    if not losses:
        return {}
    size = math.ceil(len(losses) / points)
    stretches = [losses[start : start + size] for start in range(0, len(losses), size)]
    ends = [min((i + 1) * size, len(losses)) for i in range(len(stretches))]
    curves: dict[str, list[Any]] = {"step": ends}
    for name in sorted({key for entry in losses for key in entry}):
        curves[name] = []
        for stretch in stretches:
            present = [entry[name] for entry in stretch if name in entry]
            curves[name].append(rounded(sum(present) / len(present)) if present else None)
    return curves
