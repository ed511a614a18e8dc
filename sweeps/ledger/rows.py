"""What came out: a line per system with its interval, its costs, and its difference to plain training."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.documents.result import read_result
from clplat.errors import UserError
from clplat.evaluation.significance import Difference, paired_differences
from clplat.measures import mean_of
from clplat.provenance import library_versions
from clplat.runs.run_folder import RESULT
from clplat.sweep.rows import Row, row_of
from sweeps.ledger.jobs import Stream, jobs_of, laid_out, state_of
from sweeps.ledger.systems import System

__all__ = ["entry_of"]

#: Measures of a row, and costs that are none.
MEASURES = ("forgetting", "plasticity", "zero_shot", "trainable_parameters", "exemplar_bytes")
COSTS = ("state_bytes", "optimizer_steps", "training_flops")


@dataclass
class _Measured:
    system: System
    row: Row | None
    results: Sequence[Mapping[str, Any]]
    states: Sequence[Mapping[str, Any]]


def entry_of(
    stream: Stream,
    systems: Sequence[System],
    seeds: Sequence[int],
    out: Path,
    *,
    more: Callable[[Mapping[str, Any]], Mapping[str, float | None]] | None = None,
) -> dict[str, Any]:
    """The entry of a stream as plain data: what was run, and a row per system, also of those that failed.

    Args:
        out: folder of the runs; those that are missing or failed are counted in each row.
        more: result -> further numbers of it, whose means stand under ``more`` in each row.
    """
    measured = {system.name: _measured(stream, system, seeds, out / stream.name) for system in systems}
    differences = _differences(measured)
    results = [result for one in measured.values() for result in one.results]
    protocol = results[0]["protocol"] if results else {}
    return {
        "stream": stream.name,
        "about": stream.about,
        "base": dict(stream.base),
        "orders": [list(order) for order in stream.orders],
        "seeds": list(seeds),
        "primary": protocol.get("primary", ""),
        "code": sorted({result["fingerprints"]["code"] for result in results}),
        "versions": library_versions(),
        "rows": [
            _row(measured, name, differences.get(name), len(seeds)) | _more(measured[name].results, more)
            for name in measured
        ],
    }


def _more(
    results: Sequence[Mapping[str, Any]],
    of: Callable[[Mapping[str, Any]], Mapping[str, float | None]] | None,
) -> dict[str, Any]:
    """The means of further numbers; nothing where none are asked for or nothing has run."""
    if of is None or not results:
        return {}
    found = [of(result) for result in results]
    means = {name: mean_of(one[name] for one in found) for name in found[0]}
    return {"more": {name: None if mean is None else round(mean, 4) for name, mean in means.items()}}


def _measured(stream: Stream, system: System, seeds: Sequence[int], out: Path) -> _Measured:
    try:
        layout, finals = laid_out(stream, system, seeds)
        jobs = jobs_of(layout, finals, out)
    except UserError as error:
        return _Measured(system, None, [], [{"state": "failed", "why": str(error)}])
    states = [state_of(job) for job in jobs]
    ready = [final for final, state in zip(finals, states, strict=True) if state["state"] == "complete"]
    done = {final.folder: read_result(out / final.folder / RESULT) for final in ready}
    row = row_of(layout, out, ready, done) if done else None
    return _Measured(system, row, [*done.values()], states)


def _reference(measured: Mapping[str, _Measured], name: str) -> _Measured | None:
    """What a system is compared with, if that has run; ``naive`` with itself."""
    found = measured.get(measured[name].system.against)
    return None if found is None or found.row is None else found


def _differences(measured: Mapping[str, _Measured]) -> dict[str, tuple[int, Difference]]:
    """System -> replicates in common with what it is compared with, and the difference of their scores."""
    pairs: dict[str, tuple[Row, Row, list[Any]]] = {}
    for name, one in measured.items():
        other = _reference(measured, name)
        if one.row is None or other is None or other.row is None or other is one:
            continue
        if keys := [key for key in one.row.replicates if key in other.row.replicates]:
            pairs[name] = one.row, other.row, keys
    found = paired_differences(
        [
            ([a.replicates[key] for key in keys], [b.replicates[key] for key in keys])
            for a, b, keys in pairs.values()
        ]
    )
    return {name: (len(pairs[name][2]), difference) for name, difference in zip(pairs, found, strict=True)}


def _row(
    measured: Mapping[str, _Measured], name: str, difference: tuple[int, Difference] | None, seeds: int
) -> dict[str, Any]:
    one, reference = measured[name], _reference(measured, name)
    system, states = one.system, [state["state"] for state in one.states]
    row = {
        "system": name,
        "kind": system.kind,
        "family": system.family,
        "extra": list(system.extra),
        "same": list(system.same),
        "trains": system.trains,
        "rate": one.results[0]["config"]["train"]["lr"] if one.results else None,
        "against": system.against,
        "n": len(one.results),
        "failed": [state["why"] for state in one.states if state["state"] == "failed"],
        "missing": 0 if len(states) < seeds else sum(state in ("missing", "begun") for state in states),
    }
    if one.row is None:
        return row
    seconds = [state["cpu_seconds"] for state in one.states if state.get("cpu_seconds")]
    costs = {cost: statistics.fmean(result["cost"][cost] for result in one.results) for cost in COSTS}
    compared = None
    if difference is not None:
        n, found = difference
        compared = {key: round(getattr(found, key), 4) for key in ("mean", "low", "high", "p")} | {"n": n}
    return row | {
        "score": one.row.plain["score"],
        "measures": {key: one.row.plain["measures"][key] for key in MEASURES},
        "costs": {key: round(value) for key, value in costs.items()},
        "passes": None if reference is None else _passes(one, reference),
        "between": None if reference is None else _between(one, reference),
        "cpu_seconds": round(statistics.fmean(seconds), 1) if seconds else None,
        "difference": compared,
    }


def _passes(one: _Measured, reference: _Measured) -> float | None:
    """Floating-point operations of a step, of those of the reference: 1 is a forward and a backward pass."""
    mine, theirs = _step(one), _step(reference)
    return round(mine / theirs, 3) if mine and theirs else None


def _between(one: _Measured, reference: _Measured) -> float | None:
    """What is done between the steps of a domain, in steps of the reference; None if it was not counted."""
    counted = [
        result["cost"]["domain_flops"] / len(result["domains"])
        for result in one.results
        if "domain_flops" in result["cost"]
    ]
    theirs = _step(reference)
    return round(statistics.fmean(counted) / theirs, 2) if counted and theirs else None


def _step(one: _Measured) -> float | None:
    """Floating-point operations of a step, mean over the stream and the replicates; None without steps."""
    found = [
        result["cost"]["training_flops"] / result["cost"]["optimizer_steps"]
        for result in one.results
        if result["cost"]["optimizer_steps"]
    ]
    return statistics.fmean(found) if found else None
