"""Trials (one method, several seeds) and sweeps (several methods) as parent runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.locks import locked
from clplat.measures import mean_of
from clplat.naming import NAME_LENGTH, label, part, stream_names, variant
from clplat.plots.colours import method_colour, strategy_colour
from clplat.plots.heatmaps import accuracy_heatmap
from clplat.tables.comparison import markdown
from clplat.tracking.artifacts import accuracy_table, comparison_figures, log_figures, log_queries, log_tables
from clplat.tracking.compare import from_results
from clplat.tracking.destination import Destination
from clplat.tracking.log_state import now_ms
from clplat.tracking.metrics import clean, closing_metrics, mean_key, primary, row_metrics, rows_done
from clplat.tracking.run_logging import find_run, points, send_metrics, send_params
from clplat.tracking.views import write_queries_view

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["finish_parent", "start_parent"]


def start_parent(
    tracker: Destination,
    scenario: str,
    name: str,
    level: str,
    *,
    params: Mapping[str, Any] | None = None,
    note: str = "",
    key: str | None = None,
) -> str:
    """Open a ``sweep`` or a ``trial`` and return its id (None when MLflow could not be reached).

    Args:
        scenario: names the experiment.
        name: the run's name, cut at 24 characters.
        level: ``sweep`` or ``trial``.
        params: its configuration, nested or flat; a ``strategy`` among them gives the colour.
        note: markdown for its page.
        key: anything that identifies it for good (the study's name): a resumed sweep finds its run again.
    """
    client, experiment_id, params = tracker.client, tracker.experiment(scenario), params or {}
    tags = {**tracker.tags(level), "clplat.scenario": scenario, "mlflow.note.content": note}
    # Found by its key and made where there is none: not by two workers at once.
    with locked(tracker.root / ".tracking.lock"):
        if key is not None:
            tags["clplat.key"] = key.replace("'", "")  # the filter language has no escape for quotes
            found = find_run(client, experiment_id, f"tags.`clplat.key` = '{tags['clplat.key']}'")
            if found is not None:
                client.update_run(found, status="RUNNING")
                return found
        if strategy := part(params, "strategy"):
            tags |= {"clplat.strategy": strategy, "mlflow.runColor": strategy_colour(strategy)}
        run_id = str(client.create_run(experiment_id, tags=tags, run_name=name[:NAME_LENGTH]).info.run_id)
        send_params(client, run_id, params)
        return run_id


def finish_parent(
    tracker: Destination,
    run_id: str | None,
    *,
    results: Sequence[Mapping[str, Any]] = (),
    metrics: Mapping[str, float] | None = None,
    files: Sequence[Path] = (),
    grids: Mapping[str, tuple[str, Path]] | None = None,
    note: str | None = None,
    failed: bool = False,
) -> None:
    """Close a parent: means over the seeds of ``results`` with their spread, tables, figures, files.

    Results of one method give its mean matrix, results of several the comparison; ``grids``,
    of each method its strategy and the folder of its retrieval grids, best first, pictures of what each
    finds. A ``run_id`` of None (its start was not tracked) does nothing.
    """
    if run_id is None:
        return
    client, summary = tracker.client, ""
    complete = [result for result in results if result["status"] == "complete" and rows_done(result)]
    if len({variant(result["config"]) for result in complete}) > 1:
        summary = _write_comparison(client, run_id, complete)
        _write_queries(tracker, run_id, complete[0], grids or {})
    elif complete:
        summary = _write_means(client, run_id, complete)
    last = max((rows_done(result) - 1 for result in complete), default=0)
    _send_changed(client, run_id, metrics or {}, last)
    for path in files:
        client.log_artifact(run_id, str(path))
    if note or summary:
        text = "\n\n".join(filter(None, (note, summary)))
        client.set_tag(run_id, "mlflow.note.content", text[:8000])
    client.set_terminated(run_id, "FAILED" if failed else "FINISHED")


def _write_queries(
    tracker: Destination, run_id: str, result: Mapping[str, Any], grids: Mapping[str, tuple[str, Path]]
) -> None:
    """Pictures of queries, once: a series has no way to replace one."""
    if tracker.client.list_artifacts(run_id, "images"):
        return
    colours = {name: method_colour(strategy, name) for name, (strategy, _) in grids.items()}
    folders = {name: folder for name, (_, folder) in grids.items()}
    if queries := log_queries(tracker.client, run_id, folders, colours):
        write_queries_view(tracker, part(result["config"], "scenario"), primary(result), queries)


def _send_changed(client: MlflowClient, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    """Send new values only: a resumed sweep closes its parents again."""
    known = client.get_run(run_id).data.metrics
    new = points(metrics, step, now_ms())
    send_metrics(client, run_id, [point for point in new if known.get(point.key) != point.value])


def _columns(rows: Sequence[Mapping[str, float]]) -> Iterator[tuple[str, list[float]]]:
    """The values of each metric over the seeds that have it."""
    return ((name, [row[name] for row in rows if name in row]) for name in rows[0])


def _write_means(client: MlflowClient, run_id: str, results: Sequence[Mapping[str, Any]]) -> str:
    """A trial: means over the seeds at every step, their spread at the last step, the mean matrix."""
    main, last = primary(results[0]), min(rows_done(result) for result in results) - 1
    if mean_key(main) not in client.get_run(run_id).data.metrics:  # else it was closed before
        for step in range(last):
            columns = _columns([row_metrics(result, step) for result in results])
            means = {name: statistics.fmean(values) for name, values in columns}
            send_metrics(client, run_id, points(means, step, now_ms()))
    means, spread = {}, {}
    for name, values in _columns([row_metrics(result, last) | closing_metrics(result) for result in results]):
        means[name] = statistics.fmean(values)
        if name.startswith("cl/") and len(values) > 1:
            spread[f"{name}_std"] = statistics.stdev(values)
    _send_changed(client, run_id, means | spread, last)
    domains = stream_names([result["domains"] for result in results])
    matrices = zip(*(result["metrics"][main] for result in results), strict=False)
    rows = [[mean_of(cells) for cells in zip(*seeds, strict=True)] for seeds in matrices]
    table = accuracy_table({**results[0], "domains": domains, "metrics": {main: rows}})
    log_tables(client, run_id, {"tables/accuracy_matrix.json": table})
    title = label(results[0]["config"]) + (f", mean of {len(results)}" if len(results) > 1 else "")
    drawn = accuracy_heatmap(rows, domains, metric=main, title=title)
    log_figures(client, run_id, {"accuracy_matrix": drawn})
    return markdown(from_results(results))


def _write_comparison(client: MlflowClient, run_id: str, results: Sequence[Mapping[str, Any]]) -> str:
    """A sweep over methods: the final score of each, the table, two figures."""
    rows = from_results(results)
    columns = [key for key in rows[0] if key not in ("scenario", "variant")]
    data = [[round(v, 4) if isinstance(v := row[key], float) else v for key in columns] for row in rows]
    log_tables(client, run_id, {"tables/comparison.json": (columns, data)})
    log_figures(client, run_id, comparison_figures(results, rows))
    scores = {f"{row['primary']}/{clean(row['label'])}": row["score"] for row in rows}
    _send_changed(client, run_id, scores, 0)
    return markdown(rows)
