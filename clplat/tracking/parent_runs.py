"""Trials (one method, several seeds) and sweeps (several methods) as parent runs."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.measures import mean_of
from clplat.naming import NAME_LENGTH, label, part, stream_names, variant
from clplat.plots.colours import strategy_colour
from clplat.plots.heatmaps import accuracy_heatmap
from clplat.tables.comparison import markdown, winner_line
from clplat.tracking.artifacts import accuracy_table, comparison_figures, log_figures, log_tables
from clplat.tracking.compare import from_results
from clplat.tracking.log_state import now_ms
from clplat.tracking.metrics import clean, closing_metrics, mean_key, primary, row_metrics, rows_done
from clplat.tracking.run_logging import points, send_metrics, send_params

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["close_parent", "open_parent"]


def open_parent(
    client: MlflowClient,
    experiment_id: str,
    name: str,
    tags: Mapping[str, str],
    params: Mapping[str, Any],
    key: str | None,
) -> str:
    """Create the run, or return the one that carries the same key."""
    tags = {**tags, "mlflow.source.name": "clplat", "mlflow.source.type": "LOCAL"}
    if key is not None:
        tags["clplat.key"] = key.replace("'", "")  # the filter language has no escape for quotes
        found = client.search_runs(
            [experiment_id], f"tags.`clplat.key` = '{tags['clplat.key']}'", max_results=1
        )
        if found:
            client.update_run(found[0].info.run_id, status="RUNNING")
            return str(found[0].info.run_id)
    strategy = part(params, "strategy")
    if strategy:
        tags |= {"clplat.strategy": strategy, "mlflow.runColor": strategy_colour(strategy)}
    run_id = str(client.create_run(experiment_id, tags=tags, run_name=name[:NAME_LENGTH]).info.run_id)
    send_params(client, run_id, params)
    return run_id


def close_parent(
    client: MlflowClient,
    run_id: str,
    results: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, float],
    files: Sequence[Path],
    text: str | None,
    failed: bool,
) -> None:
    """Write the means or the comparison of the children and end the run."""
    complete = [result for result in results if result["status"] == "complete" and rows_done(result)]
    summary = ""
    if len({variant(result["config"]) for result in complete}) > 1:
        summary = _write_comparison(client, run_id, complete)
    elif complete:
        summary = _write_means(client, run_id, complete)
    last = max((rows_done(result) - 1 for result in complete), default=0)
    _send_changed(client, run_id, metrics, last)
    for path in files:
        client.log_artifact(run_id, str(path))
    notes = [part for part in (text, summary) if part]
    if notes:
        client.set_tag(run_id, "mlflow.note.content", "\n\n".join(notes)[:8000])
    client.set_terminated(run_id, "FAILED" if failed else "FINISHED")


def _send_changed(client: MlflowClient, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    """Send new values only: a resumed sweep closes its parents again."""
    known = client.get_run(run_id).data.metrics
    changed = {name: round(value, 4) for name, value in metrics.items() if known.get(name) != round(value, 4)}
    send_metrics(client, run_id, points(changed, step, now_ms()))


def _write_means(client: MlflowClient, run_id: str, results: Sequence[Mapping[str, Any]]) -> str:
    """A trial: means over the seeds at every step, their spread at the last step, the mean matrix."""
    steps = min(rows_done(result) for result in results)
    again = mean_key(primary(results[0])) in client.get_run(run_id).data.metrics
    for step in range(steps):
        seeds = [row_metrics(result, step) for result in results]
        if step == steps - 1:
            seeds = [row | closing_metrics(result) for row, result in zip(seeds, results, strict=True)]
        columns = {name: [row[name] for row in seeds if name in row] for name in seeds[0]}
        means = {name: statistics.fmean(values) for name, values in columns.items()}
        if step == steps - 1:
            means |= {
                f"{name}_std": statistics.stdev(values)
                for name, values in columns.items()
                if name.startswith("cl/") and len(values) > 1
            }
            _send_changed(client, run_id, means, step)
        elif not again:
            rounded = {name: round(value, 4) for name, value in means.items()}
            send_metrics(client, run_id, points(rounded, step, now_ms()))
    main = primary(results[0])
    domains = stream_names([result["domains"] for result in results])
    matrices = zip(*(result["metrics"][main] for result in results), strict=False)
    means_of_r = [[mean_of(cells) for cells in zip(*rows, strict=True)] for rows in matrices]
    mean = {**results[0], "domains": domains, "metrics": {main: means_of_r}}
    log_tables(client, run_id, {"tables/accuracy_matrix.json": accuracy_table(mean)})
    title = label(mean["config"]) + (f", mean of {len(results)}" if len(results) > 1 else "")
    drawn = accuracy_heatmap(mean["metrics"][main], mean["domains"], metric=main, title=title)
    log_figures(client, run_id, {"accuracy_matrix": drawn})
    return markdown(from_results(results))


def _write_comparison(client: MlflowClient, run_id: str, results: Sequence[Mapping[str, Any]]) -> str:
    """A sweep over methods: the final score of each, the table, two figures, the winner."""
    rows = from_results(results)
    columns = [key for key in rows[0] if key not in ("scenario", "variant")]
    data = [
        [round(v, 4) if isinstance(v, float) else v for v in (row[key] for key in columns)] for row in rows
    ]
    log_tables(client, run_id, {"tables/comparison.json": (columns, data)})
    log_figures(client, run_id, comparison_figures(results, rows))
    _send_changed(
        client, run_id, {f"{row['primary']}/{clean(row['label'])}": row["score"] for row in rows}, 0
    )
    return f"**{winner_line(rows)}**\n\n{markdown(rows)}"
