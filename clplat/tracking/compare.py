"""The comparison: one row per method, means over seeds, from MLflow or straight from results.

Both ways end in the same rows, so that a demo's last table and `clplat compare` cannot disagree.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import TypedDict

from clplat.documents.checked import checked
from clplat.errors import unknown_name
from clplat.measures import COMPARED
from clplat.naming import flat
from clplat.tracking.metrics import closing_metrics, mean_key, method_tags, param_keys, row_metrics, rows_done
from clplat.tracking.store import tracked

__all__ = ["compared", "comparison", "from_results"]

# Row key -> MLflow name. `score` is whichever metric the runs call primary.
NUMBERS = {
    "R1": mean_key("R@1"),
    "R5": mean_key("R@5"),
    "chance": "base/chance",
    **{measure.column: measure.mlflow for measure in COMPARED},
}
# Two methods are only comparable where these agree.
_CONTEXT = ("scenario.", "backbone", "composer", "evaluation.split", "data.")


#: What tells methods apart.
_Tags: Any = TypedDict(  # type: ignore[misc]
    "_Tags", {f"clplat.{word}": str for word in ("scenario", "variant", "label", "strategy", "primary")}
)


class _Run(NamedTuple):
    """One complete run as MLflow knows it, whose `RunData` has the same fields."""

    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


def from_results(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `comparison`, from Results instead of MLflow; those that are not complete are left out."""
    return _rows(
        _by_method(
            _Run(
                method_tags(result),
                dict(zip(param_keys(known), map(str, known.values()), strict=True)),
                row_metrics(result, rows_done(result) - 1) | closing_metrics(result),
            )
            for result in results
            if result["status"] == "complete" and rows_done(result)
            for known in [flat(result["config"])]
        )
    )


def comparison(root: Path, scenario: str | None = None) -> list[dict[str, Any]]:
    """The rows of `compared`."""
    return compared(root, scenario)[0]


def compared(root: Path, scenario: str | None = None) -> tuple[list[dict[str, Any]], str]:
    """One row per method from the tracked runs of a folder, best first.

    Args:
        root: the folder of runs (``MLFLOW_TRACKING_URI`` wins, as in logging).
        scenario: only this one; all that are tracked if None.

    Returns:
        Rows, and the sentence of a sweep about them, a line per scenario. Rows are dicts with ``scenario``,
        ``variant`` (equal for all seeds of one config), ``label``, ``strategy``, ``primary`` (e.g. ``"R5"``),
        ``n`` seeds, and for each of ``score`` (the primary metric), ``R1``, ``R5`` and every ``column`` of
        `clplat.measures.COMPARED` the mean and, as ``<name>_std``, the sample standard deviation (None below
        two seeds).

    Raises:
        UserError: nothing is tracked here, the scenario is unknown, a run lacks the tags that say of which
            method it is, or the store does not answer.
    """
    with tracked(root) as (client, experiments):
        if scenario is not None and scenario not in experiments:
            raise unknown_name("tracked scenario", scenario, experiments)
        wanted = [experiments[name].experiment_id for name in experiments if scenario in (None, name)]
        groups = _by_method(_finished(client, wanted))
    from clplat.tracking.verdict import verdict  # torch: only where there is something to compare

    rows = _rows(groups)
    labels = {(row["scenario"], row["variant"]): row["label"] for row in rows}
    folders = {
        (*method, labels[method]): [Path(run.tags.get("clplat.folder", "")) for run in runs.values()]
        for method, runs in groups.items()
    }
    return rows, verdict(rows, folders)


def _finished(client: Any, experiment_ids: Sequence[str]) -> Iterator[Any]:
    more, token = bool(experiment_ids), None
    while more:
        page = client.search_runs(
            experiment_ids,
            "tags.`clplat.level` = 'seed' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        for run in page:
            checked(dict(run.data.tags), _Tags, f"MLflow's run {run.info.run_id}", "run of clplat")
            yield run.data
        token = page.token
        more = bool(token)


def _by_method(runs: Iterable[_Run]) -> dict[tuple[str, str], dict[tuple[str, str], _Run]]:
    """(scenario, variant) -> (seed, order) -> run."""
    groups: dict[tuple[str, str], dict[tuple[str, str], _Run]] = {}
    for run in runs:
        # The same seed and stream order run twice counts once, as it last came out.
        replicate = run.params.get("seed", "0"), run.params.get("scenario.order", "")
        method = run.tags["clplat.scenario"], run.tags["clplat.variant"]
        groups.setdefault(method, {})[replicate] = run
    return groups


def _rows(groups: Mapping[tuple[str, str], Mapping[tuple[str, str], _Run]]) -> list[dict[str, Any]]:
    methods = [list(group.values()) for group in groups.values()]
    firsts = [group[0] for group in methods]
    rows = [_row(group, _distinct_label(group[0], firsts)) for group in methods]
    return sorted(rows, key=lambda row: (row["scenario"], row["score"] is None, -(row["score"] or 0)))


def _row(group: Sequence[_Run], name: str) -> dict[str, Any]:
    words = ("scenario", "variant", "label", "strategy", "primary")
    row: dict[str, Any] = {key: group[0].tags[f"clplat.{key}"] for key in words}
    row |= {"label": name, "n": len(group)}
    for key, metric in {"score": mean_key(row["primary"]), **NUMBERS}.items():
        values = [run.metrics[metric] for run in group if metric in run.metrics]
        row[key] = statistics.fmean(values) if values else None
        row[f"{key}_std"] = statistics.stdev(values) if len(values) > 1 else None
    return row


def _distinct_label(run: _Run, runs: Sequence[_Run]) -> str:
    """A label that no other run has: with the options in which namesakes differ, the context if it varies."""

    def sharing(tag: str, among: Sequence[_Run]) -> list[_Run]:
        return [other for other in among if other.tags[tag] == run.tags[tag]]

    stream = sharing("clplat.scenario", runs)
    keys = _differing(sharing("clplat.label", stream))
    keys |= {key for key in _differing(stream) if key.startswith(_CONTEXT)}
    words = [f"{key.split('.')[-1]}={run.params.get(key, '-')}" for key in sorted(keys)]
    return " ".join([run.tags["clplat.label"], *words])


def _differing(runs: Sequence[_Run]) -> set[str]:
    keys = {key for run in runs for key in run.params}
    keys -= {"seed", "scenario.order"}  # they tell replicates apart, not methods
    return {key for key in keys if len({run.params.get(key) for run in runs}) > 1}
