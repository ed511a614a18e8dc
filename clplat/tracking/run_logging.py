"""Logs one result as one run of level ``seed``, in steps. Errors pass through: `Tracker` stops them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from clplat.addresses import without_password
from clplat.measures import MEASURES
from clplat.naming import NAME_LENGTH, flat, label, part, run_name, variant
from clplat.plots.colours import method_colour
from clplat.tracking.artifacts import log_closing, log_datasets, log_drawings, log_grids
from clplat.tracking.descriptions import note
from clplat.tracking.destination import Destination
from clplat.tracking.log_state import LogState, locked_state, mtime_ms
from clplat.tracking.metrics import (
    closing_metrics,
    mean_key,
    method_tags,
    param_keys,
    primary,
    row_metrics,
    rows_done,
    training_curves,
    trial_key,
)
from clplat.tracking.models import create_models, upload_models
from clplat.tracking.views import write_run_views

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

__all__ = ["find_run", "log_run", "log_run_files", "points", "send_metrics", "send_params"]

_STATUS = {"complete": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}


def log_run(tracker: Destination, result: Mapping[str, Any], folder: Path) -> str:
    """The first half of `Tracker.log`, everything but pictures and the files of models; the id of the run."""
    config, client = result["config"], tracker.client
    experiment_id = tracker.experiment(part(config, "scenario"))
    identity = f"{variant(config)}-s{config.get('seed', 0)}"
    with locked_state(folder) as state:
        if state.identity != identity:
            state = LogState(state.folder, identity)
        # It may be in another store, or deleted.
        if state.run_id is None or not find_run(client, experiment_id, f"run_id = '{state.run_id}'"):
            state = _create(tracker, experiment_id, result, state)
        run_id = str(state.run_id)
        with _ended(client, run_id, result):
            if tracker.level == "seed":  # a trial's models are for choosing options only
                create_models(client, result, state)
            send_rows(client, result, state)
            status = _status(result)
            if status != state.status and not state.finished:
                if status == "RUNNING":  # it had failed and was resumed
                    client.update_run(run_id, status="RUNNING")
                else:
                    _close(tracker, result, state, status)
                state.status, state.finished, state.drawn = status, status == "FINISHED", False
                state.write()
        return run_id


def _status(result: Mapping[str, Any]) -> str:
    return _STATUS.get(str(result["status"]), "RUNNING")


@contextmanager
def _ended(client: MlflowClient, run_id: str, result: Mapping[str, Any]) -> Iterator[None]:
    """A run that is over does not stay RUNNING where something of it cannot be logged."""
    try:
        yield
    except Exception:
        if _status(result) != "RUNNING":
            with suppress(Exception):  # the store may be gone; what it refused is the error to tell
                client.set_terminated(run_id, _status(result))
        raise


def log_run_files(tracker: Destination, result: Mapping[str, Any], folder: Path) -> None:
    """The second half of `Tracker.log`: models, new retrieval grids, figures of a run that is over, views."""
    client = tracker.client
    with locked_state(folder) as state:
        if state.run_id is not None:
            upload_models(client, state)
            log_grids(client, state)
            if state.status != "RUNNING" and not state.drawn:
                log_drawings(client, state.run_id, result)
                state.drawn = True
                state.write()
    write_run_views(tracker, result)


def find_run(client: MlflowClient, experiment_id: str, search: str) -> str | None:
    """The id of a run that is not deleted."""
    found = client.search_runs([experiment_id], search, max_results=1)
    return str(found[0].info.run_id) if found else None


def _create(tracker: Destination, experiment_id: str, result: Mapping[str, Any], state: LogState) -> LogState:
    """Create a run, or find the one of a process that was killed before it could write down the id."""
    client, config = tracker.client, result["config"]
    if state.key and state.run_id is None and without_password(state.uri) == tracker.address:
        state.run_id = find_run(client, experiment_id, f"tags.`clplat.key` = '{state.key}'")
    else:
        state = LogState(state.folder, state.identity, tracker.address, experiment_id, key=uuid.uuid4().hex)
        state.write()
    if state.run_id is None:
        complete, spent = result["status"] == "complete", closing_metrics(result)
        took = spent.get(MEASURES["seconds"].mlflow, 0.0) if complete else 0.0
        run = client.create_run(
            experiment_id,
            # The start of a complete run is its end minus its duration.
            start_time=mtime_ms(state.folder / "result.json") - int(1000 * took),
            tags=_tags(result, state, tracker.label) | tracker.tags(tracker.level),
            run_name=_run_name(config, state.folder, tracker),
        )
        state.run_id = run.info.run_id
    with _ended(client, str(state.run_id), result):
        send_params(client, str(state.run_id), config)
        # The full configuration as it was resolved: what `clplat run --config` takes.
        text = yaml.safe_dump(json.loads(json.dumps(config, default=str)), sort_keys=False)
        client.log_text(str(state.run_id), text, "config/resolved.yaml")
        log_datasets(client, str(state.run_id), result)
    state.inputs = True
    state.write()
    return state


def _run_name(config: Mapping[str, Any], folder: Path, tracker: Destination) -> str:
    """Method and seed; trials of a study differ in drawn values, so they have their number instead."""
    called = tracker.label
    if tracker.level != "trial":
        return run_name(config, called)
    number = f" {folder.name}" if called else folder.name
    return (called or "")[: NAME_LENGTH - len(number)].rstrip() + number[:NAME_LENGTH]


def _tags(result: Mapping[str, Any], state: LogState, called: str | None) -> dict[str, str]:
    tags = method_tags(result) | ({"clplat.label": called} if called else {})
    tags |= {
        "clplat.key": state.key,
        "clplat.folder": str(state.folder),
        "clplat.name": str(result.get("name") or state.folder.name),
        "clplat.split": str((result.get("protocol") or {}).get("split", "test")),
        "clplat.stream": " > ".join(result["domains"])[:1000],
        "mlflow.runColor": method_colour(tags["clplat.strategy"], called or tags["clplat.strategy"]),
    }
    if read := (result.get("extra_data") or {}).get("texts"):
        tags["clplat.texts"] = str(read["fingerprint"])
    code = (result.get("fingerprints") or {}).get("code")
    commit = code.get("commit") if isinstance(code, Mapping) else code
    if isinstance(commit, str) and len(commit) == 40:  # a git commit, not some other hash
        tags["mlflow.source.git.commit"] = commit
    versions = {f"version.{name}": str(value) for name, value in flat(result.get("versions") or {}).items()}
    return tags | dict(list(versions.items())[:50])


def points(
    metrics: Mapping[str, float], step: int, timestamp: int, model_id: str | None = None
) -> list[Metric]:
    """Metrics of one step, to four decimals; they are also those of a model, if there is one."""
    from mlflow.entities import Metric

    return [Metric(name, round(value, 4), timestamp, step, model_id) for name, value in metrics.items()]


def send_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    """Send metrics of any number of steps, 1,000 per call (MLflow's limit)."""
    for start in range(0, len(metrics), 1000):
        client.log_batch(run_id, metrics=metrics[start : start + 1000])


def send_params(client: MlflowClient, run_id: str, config: Mapping[str, Any]) -> None:
    """Send the configuration, flat and dotted, 100 parameters per call (MLflow's limit)."""
    from mlflow.entities import Param

    known = flat(config)
    pairs = zip(param_keys(known), known.values(), strict=True)
    batch = [Param(name, str(value)[:500]) for name, value in pairs]
    for start in range(0, len(batch), 100):
        client.log_batch(run_id, params=batch[start : start + 100])


def send_rows(client: MlflowClient, result: Mapping[str, Any], state: LogState) -> None:
    """Send the rows that are new.

    Their times are noted down first: if a call is cut off after the store took it, the next one sends the
    very same points, which MLflow drops as duplicates.
    """
    done, known = rows_done(result), len(state.clock)
    if state.rows_logged >= done:
        return
    state.clock += [mtime_ms(state.folder / "values" / f"{row}.safetensors") for row in range(known, done)]
    state.write()
    new = [
        points(row_metrics(result, row), row, state.clock[row], state.models.get(str(row)) or None)
        for row in range(state.rows_logged, done)
    ]
    send_metrics(client, str(state.run_id), list(chain(*new)))
    client.set_tag(str(state.run_id), "mlflow.note.content", note(result)[:5000])
    state.rows_logged = done
    state.write()


def _close(tracker: Destination, result: Mapping[str, Any], state: LogState, status: str) -> None:
    client, run_id = tracker.client, str(state.run_id)
    if status == "FINISHED":  # a failed run may be resumed: its cost is not final
        last = max(rows_done(result) - 1, 0)
        closing = closing_metrics(result)
        if tracker.level == "trial":
            score = row_metrics(result, last).get(mean_key(primary(result)))
            closing |= {} if score is None else {trial_key(tracker.label or label(result["config"])): score}
        ended = state.clock[-1] if state.clock else 0
        curves = [points(terms, step, ended) for step, terms in training_curves(result)]
        send_metrics(client, run_id, points(closing, last, ended) + list(chain(*curves)))
    client.set_tag(run_id, "mlflow.note.content", note(result)[:5000])
    log_closing(client, run_id, result)
    client.set_terminated(run_id, status, end_time=mtime_ms(state.folder / "result.json"))
