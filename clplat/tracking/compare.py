"""The comparison: one row per method, means over seeds, from MLflow or straight from results.

Both ways end in the same rows, so that a demo's last table and `clplat compare` cannot disagree.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.errors import UserError, unknown_name
from clplat.measures import COMPARED
from clplat.naming import flat, label, part, variant
from clplat.tracking.metrics import closing_metrics, mean_key, primary, row_metrics, rows_done, short
from clplat.tracking.store import experiment_name, open_client, tracking_uri

__all__ = ["comparison", "from_results"]

# Row key -> MLflow name. `score` is whichever metric the runs call primary.
NUMBERS = {
    "R1": mean_key("R@1"),
    "R5": mean_key("R@5"),
    **{measure.column: measure.mlflow for measure in COMPARED},
}
_CONTEXT = (
    "scenario.",
    "backbone",
    "composer",
    "evaluation.split",
    "data.",
)  # two methods are only comparable where these agree


@dataclass(frozen=True)
class _Entry:
    """One complete run, reduced to what the comparison needs."""

    scenario: str
    variant: str
    label: str
    strategy: str
    seed: str
    primary: str
    params: Mapping[str, str]
    numbers: Mapping[str, float]


def from_results(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `comparison`, from Results instead of MLflow; those that are not complete are left out."""
    entries = []
    for result in results:
        if result["status"] != "complete" or not rows_done(result):
            continue
        config = result["config"]
        entries.append(
            _Entry(
                scenario=part(config, "scenario"),
                variant=variant(config),
                label=label(config),
                strategy=part(config, "strategy"),
                seed=str(config.get("seed", 0)),
                primary=short(primary(result)),
                params={key: str(value) for key, value in flat(config).items()},
                numbers=row_metrics(result, rows_done(result) - 1) | closing_metrics(result),
            )
        )
    return _rows(entries)


def comparison(root: Path, scenario: str | None = None) -> list[dict[str, Any]]:
    """One row per method from the tracked runs of a folder, best first.

    Args:
        root: the folder of runs (``MLFLOW_TRACKING_URI`` wins, as in logging).
        scenario: only this one; all that are tracked if None.

    Returns:
        Dicts with ``scenario``, ``variant`` (equal for all seeds of one config), ``label``, ``strategy``,
        ``primary`` (e.g. ``"R5"``), ``n`` seeds, and for each of ``score`` (the primary metric), ``R1``,
        ``R5`` and every ``column`` of `clplat.measures.COMPARED` the mean and, as ``<name>_std``, the sample
        standard deviation (None below two seeds).

    Raises:
        UserError: nothing is tracked here, the scenario is unknown, or the store does not answer.
    """
    uri = tracking_uri(root)
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        raise UserError(
            f"no runs are tracked in {root}; start one with `clplat run`, or choose another folder"
        )
    client = open_client(uri)
    from mlflow.exceptions import MlflowException

    try:
        prefix = experiment_name("")
        found = client.search_experiments(filter_string=f"name LIKE '{prefix}%'", max_results=1000)
        scenarios = {item.name.removeprefix(prefix): item.experiment_id for item in found}
        if scenario is not None and scenario not in scenarios:
            raise unknown_name("tracked scenario", scenario, scenarios)
        wanted = [scenarios[scenario]] if scenario is not None else list(scenarios.values())
        return _rows([_entry(run) for run in _finished(client, wanted)])
    except MlflowException as error:
        raise UserError(f"MLflow at {uri} does not answer: {' '.join(str(error).split())[:200]}") from error


def _finished(client: Any, experiment_ids: list[str]) -> list[Any]:
    runs: list[Any] = []
    token = None
    while experiment_ids:
        page = client.search_runs(
            experiment_ids,
            "tags.`clplat.level` = 'seed' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        runs += page
        token = page.token
        if not token:
            break
    return runs


def _entry(run: Any) -> _Entry:
    tags, params = run.data.tags, run.data.params
    return _Entry(
        scenario=tags["clplat.scenario"],
        variant=tags["clplat.variant"],
        label=tags["clplat.label"],
        strategy=tags["clplat.strategy"],
        seed=params.get("seed", "0"),
        primary=tags["clplat.primary"],
        params=params,
        numbers=run.data.metrics,
    )


def _rows(entries: Sequence[_Entry]) -> list[dict[str, Any]]:
    groups: dict[tuple[str, str], dict[str, _Entry]] = {}
    for entry in entries:
        # The same seed and stream order run twice counts once, as it last came out.
        replicate = f"{entry.seed} {entry.params.get('scenario.order', '')}"
        groups.setdefault((entry.scenario, entry.variant), {})[replicate] = entry
    seeds = [list(group.values()) for group in groups.values()]
    names = _distinct_labels([group[0] for group in seeds])
    rows = [_row(group, name) for group, name in zip(seeds, names, strict=True)]
    return sorted(rows, key=lambda row: (row["scenario"], row["score"] is None, -(row["score"] or 0)))


def _row(group: Sequence[_Entry], name: str) -> dict[str, Any]:
    first = group[0]
    row: dict[str, Any] = {
        "scenario": first.scenario,
        "variant": first.variant,
        "label": name,
        "strategy": first.strategy,
        "primary": first.primary,
        "n": len(group),
    }
    for key, metric in {"score": mean_key(first.primary), **NUMBERS}.items():
        values = [entry.numbers[metric] for entry in group if metric in entry.numbers]
        row[key] = statistics.fmean(values) if values else None
        row[f"{key}_std"] = statistics.stdev(values) if len(values) > 1 else None
    return row


def _distinct_labels(entries: Sequence[_Entry]) -> list[str]:
    """Labels that tell all rows apart: the options in which namesakes differ, the context if it varies."""
    names = []
    for entry in entries:
        stream = [other for other in entries if other.scenario == entry.scenario]
        namesakes = [other for other in stream if other.label == entry.label]
        keys = _differing(namesakes) | {key for key in _differing(stream) if key.startswith(_CONTEXT)}
        words = [f"{key.split('.')[-1]}={entry.params.get(key, '-')}" for key in sorted(keys)]
        names.append(" ".join([entry.label, *words]))
    return names


def _differing(entries: Sequence[_Entry]) -> set[str]:
    keys = {key for entry in entries for key in entry.params}
    keys -= {"seed", "scenario.order"}  # they tell replicates apart, not methods
    return {key for key in keys if len({entry.params.get(key) for entry in entries}) > 1}
