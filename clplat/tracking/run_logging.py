"""Logs one result as one run of level ``seed``, in steps. Errors pass through: `Tracker` stops them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.measures import MEASURES
from clplat.naming import NAME_LENGTH, flat, label, part, run_name, variant
from clplat.plots.colours import strategy_colour
from clplat.tracking.artifacts import log_closing, log_config, log_drawings, log_grid
from clplat.tracking.datasets import log_datasets
from clplat.tracking.descriptions import note
from clplat.tracking.log_state import LogState, folder_lock, mtime_ms, now_ms
from clplat.tracking.metrics import closing_metrics, primary, row_metrics, rows_done, short, training_curves
from clplat.tracking.models import create_models, upload_models

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

__all__ = ["log_run", "log_run_files", "points", "send_metrics", "send_params"]

_STATUS = {"complete": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}


def log_run(
    client: MlflowClient,
    uri: str,
    experiment_id: str,
    result: Mapping[str, Any],
    folder: Path,
    tags: Mapping[str, str],
) -> str:
    """Bring the run of ``folder`` up to date with ``result``; return its id."""
    config = result["config"]
    identity = f"{variant(config)}-s{config.get('seed', 0)}"
    with folder_lock(folder):
        state = LogState.read(folder)
        if state.identity != identity:
            state = LogState(identity)
        if state.run_id is None or not _alive(client, state.run_id):
            state = _create(client, uri, experiment_id, result, folder, state, tags)
        run_id = str(state.run_id)
        if not state.inputs:
            log_datasets(client, run_id, result)
            state.inputs = True
            state.write(folder)
        if tags.get("clplat.level") == "seed":  # a trial's models are for choosing options only
            create_models(client, experiment_id, result, folder, state)
        send_rows(client, result, folder, state)
        status = _STATUS.get(str(result["status"]), "RUNNING")
        if status != state.status and not state.finished:
            if status == "RUNNING":  # it had failed and was resumed
                client.update_run(run_id, status="RUNNING")
            else:
                _close(client, result, folder, state, status)
            state.status, state.finished, state.drawn = status, status == "FINISHED", False
            state.write(folder)
        return run_id


def log_run_files(client: MlflowClient, result: Mapping[str, Any], folder: Path) -> None:
    """The files of a run that is logged: models, new retrieval grids, and figures once it is over."""
    with folder_lock(folder):
        state = LogState.read(folder)
        if state.run_id is None:
            return
        upload_models(client, folder, state)
        _send_grids(client, folder, state)
        if state.status != "RUNNING" and not state.drawn:
            log_drawings(client, state.run_id, result)
            state.drawn = True
            state.write(folder)


def _alive(client: MlflowClient, run_id: str) -> bool:
    """Whether the store has this run: it may be another store, or the run was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise


def _create(
    client: MlflowClient,
    uri: str,
    experiment_id: str,
    result: Mapping[str, Any],
    folder: Path,
    state: LogState,
    tags: Mapping[str, str],
) -> LogState:
    """Create a run, or find the one of a process that was killed before it could write down the id."""
    if state.key and state.run_id is None and state.uri == uri:
        found = client.search_runs([experiment_id], f"tags.`clplat.key` = '{state.key}'", max_results=1)
        state.run_id = found[0].info.run_id if found else None
    else:
        state = LogState.new(state.identity, uri, experiment_id)
        state.write(folder)
    if state.run_id is None:
        # The start of a complete run is its end minus its duration.
        took = (
            closing_metrics(result).get(MEASURES["seconds"].mlflow, 0.0)
            if result["status"] == "complete"
            else 0.0
        )
        run = client.create_run(
            experiment_id,
            start_time=mtime_ms(folder / "result.json") - int(1000 * took),
            tags={**_tags(result, folder), **tags, "clplat.key": state.key},
            run_name=_run_name(result, folder, tags),
        )
        state.run_id = run.info.run_id
    send_params(client, str(state.run_id), result["config"])
    log_config(client, str(state.run_id), result["config"])
    state.write(folder)
    return state


def _run_name(result: Mapping[str, Any], folder: Path, tags: Mapping[str, str]) -> str:
    """Method and seed; trials of a study differ in drawn values, so they have their number instead."""
    called = tags.get("clplat.label")
    if tags.get("clplat.level") != "trial":
        return run_name(result["config"], called)
    number = f" {folder.name}" if called else folder.name
    return (called or "")[: NAME_LENGTH - len(number)].rstrip() + number[:NAME_LENGTH]


def _tags(result: Mapping[str, Any], folder: Path) -> dict[str, str]:
    config = result["config"]
    strategy = part(config, "strategy")
    tags = {
        "clplat.folder": str(folder),
        "clplat.name": str(result.get("name") or folder.name),
        "clplat.scenario": part(config, "scenario"),
        "clplat.strategy": strategy,
        "clplat.label": label(config),
        "clplat.variant": variant(config),
        "clplat.primary": short(primary(result)),
        "clplat.split": str((result.get("protocol") or {}).get("split", "test")),
        "clplat.stream": " > ".join(result["domains"])[:1000],
        "mlflow.runColor": strategy_colour(strategy),
        "mlflow.source.name": "clplat",
        "mlflow.source.type": "LOCAL",
    }
    code = (result.get("fingerprints") or {}).get("code")
    commit = code.get("commit") if isinstance(code, Mapping) else code
    if isinstance(commit, str) and len(commit) == 40:  # a git commit, not some other hash
        tags["mlflow.source.git.commit"] = commit
    versions = {f"version.{name}": str(value) for name, value in flat(result.get("versions") or {}).items()}
    return tags | dict(list(versions.items())[:50])


def points(
    metrics: Mapping[str, float], step: int, timestamp: int, model_id: str | None = None
) -> list[Metric]:
    """Metrics of one step; they are also those of a model, if there is one."""
    from mlflow.entities import Metric

    return [Metric(name, value, timestamp, step, model_id=model_id) for name, value in metrics.items()]


def send_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    """Send metrics of any number of steps, 1,000 per call (MLflow's limit)."""
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000])


def send_params(client: MlflowClient, run_id: str, config: Mapping[str, Any]) -> None:
    """Send the configuration, flat and dotted, 100 parameters per call (MLflow's limit)."""
    from mlflow.entities import Param

    batch = [Param(name[:250], str(value)[:500]) for name, value in flat(config).items()]
    for start in range(0, len(batch), 100):
        client.log_batch(run_id, params=batch[start : start + 100])


def send_rows(client: MlflowClient, result: Mapping[str, Any], folder: Path, state: LogState) -> None:
    """Send the rows that are new.

    Their times are noted down first: if a call is cut off after the store took it, the next one sends the
    very same points, which MLflow drops as duplicates.
    """
    done, run_id = rows_done(result), str(state.run_id)
    if state.rows_logged >= done:
        return
    state.clock += [
        mtime_ms(folder / "values" / f"{row}.safetensors") for row in range(len(state.clock), done)
    ]
    state.write(folder)
    new = [
        points(row_metrics(result, row), row, state.clock[row], state.models.get(str(row)) or None)
        for row in range(state.rows_logged, done)
    ]
    send_metrics(client, run_id, list(chain(*new)))
    client.set_tag(run_id, "mlflow.note.content", note(result)[:5000])
    state.rows_logged = done
    state.write(folder)


def _send_grids(client: MlflowClient, folder: Path, state: LogState) -> None:
    for path in sorted((folder / "grids").glob("step_*.png")):
        step = path.stem.removeprefix("step_")
        if step.isdigit() and int(step) not in state.grids:
            log_grid(client, str(state.run_id), path, int(step), now_ms())
            state.grids.append(int(step))
            state.write(folder)


def _close(
    client: MlflowClient, result: Mapping[str, Any], folder: Path, state: LogState, status: str
) -> None:
    run_id = str(state.run_id)
    if status == "FINISHED":  # a failed run may be resumed: its cost is not final
        last = max(rows_done(result) - 1, 0)
        ended = state.clock[-1] if state.clock else 0
        curves = [points(terms, step, ended) for step, terms in training_curves(result)]
        send_metrics(client, run_id, points(closing_metrics(result), last, ended) + list(chain(*curves)))
    client.set_tag(run_id, "mlflow.note.content", note(result)[:5000])
    log_closing(client, run_id, result)
    client.set_terminated(run_id, status, end_time=mtime_ms(folder / "result.json"))
