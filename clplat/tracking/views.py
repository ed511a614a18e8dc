"""Saved views: the MLflow page that opens on the answer instead of on a list of run names.

MLflow 3.17 keeps a shared view in an experiment tag, as deflated JSON. That is no documented interface: it is
written here and nowhere else, a test reads it back, and a failure costs the view and nothing more.

What the views show is in ``views.json``. They list runs of one level only: a trial repeats the numbers of its
seeds. Groups are by label, not by strategy: one strategy on two adapters is two methods. MLflow colours
groups by chance, and two may share one: ours stand in tags of the experiment, for `clplat.tracking.page`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.measures import COMPARED, MEASURES
from clplat.naming import label, part
from clplat.plots.colours import method_colour
from clplat.tracking.destination import Destination
from clplat.tracking.metrics import (
    HEADLINES,
    closing_metrics,
    domain_keys,
    in_words,
    mean_key,
    primary,
    row_metrics,
    rows_done,
    short,
    trial_key,
)

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = [
    "COLOUR", "TAG", "VIEWS", "leaderboard_link", "tuning_state", "view_states", "write_queries_view",
    "write_run_views", "write_tuning_view", "write_views",
]  # fmt: skip

_TEMPLATES: dict[str, Any] = json.loads(Path(__file__).with_name("views.json").read_text(encoding="utf-8"))
VIEWS = {key: str(view["title"]) for key, view in _TEMPLATES["views"].items()}
TAG = "mlflow.sharedViewState."
#: Tags of an experiment, one per group of runs, start with this; their values are "<colour> <label>".
COLOUR = "mlflow.clplat.colour."  # MLflow shows no tag that starts with its own name
#: Runs of which a card of MLflow shows pictures.
MOST_IMAGES = 10
_LIMIT = 20_000  # characters of an experiment tag
_MOST_CURVES = 12
_MOST_RUNS = 50  # that are looked at for two of one method
# Measures beside the score: of the profile, and of tables.
_PROFILE = (*HEADLINES, "seconds")
_COLUMNS = dict.fromkeys([*HEADLINES, *(measure.name for measure in COMPARED)])


def leaderboard_link(uri: str, experiment_id: str, view: str = "leaderboard") -> str:
    """The address of a saved view. The first parameter keeps an empty browser from MLflow's GenAI overview.

    Args:
        uri: the address of the MLflow server, ``http://127.0.0.1:5000``.
        experiment_id: whose runs.
        view: a key of `VIEWS`; all but the leaderboard open as charts.
    """
    charts = "" if view == "leaderboard" else "&compareRunsMode=CHART"
    base = f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs"
    return f"{base}?workflowType=machine_learning&viewStateShareKey={view}{charts}"


def write_run_views(tracker: Destination, result: Mapping[str, Any]) -> None:
    """The views of measured runs, when a tracker first logs to an experiment and when a run is complete."""
    experiment_id = tracker.experiment(part(result["config"], "scenario"))
    complete = result["status"] == "complete" and tracker.level == "seed"
    if experiment_id in tracker.with_views and not complete:
        return
    tracker.with_views.add(experiment_id)
    client, name = tracker.client, tracker.label or label(result["config"])
    colour = method_colour(part(result["config"], "strategy"), name)
    key = hashlib.sha256(name.encode()).hexdigest()[:12]  # MLflow allows few letters in keys
    client.set_experiment_tag(experiment_id, COLOUR + key, f"{colour} {name}")
    runs = client.search_runs([experiment_id], "tags.`clplat.level` = 'seed'", max_results=_MOST_RUNS)
    labels = [run.data.tags.get("clplat.label") for run in runs]
    last = rows_done(result) - 1
    states = view_states(
        short(primary(result)),
        domain_keys(result["domains"]),
        known=row_metrics(result, last) | closing_metrics(result) if complete else None,
        replicated=len(set(labels)) < len(labels),
        few=len(labels) <= MOST_IMAGES,
    )
    write_views(client, experiment_id, states)


def write_tuning_view(
    tracker: Destination, scenario: str, metric: str, studies: Mapping[str, Sequence[str]]
) -> None:
    """Write the view of the trials of studies, those of level ``trial`` on split ``val``.

    Args:
        scenario: names the experiment.
        metric: what the trials were chosen by: ``R@5`` or ``R5``.
        studies: method -> what its trials searched, dotted: ``strategy.lam``.
    """
    states = {"tuning": tuning_state(short(metric), studies)}
    write_views(tracker.client, tracker.experiment(scenario), states)


def write_queries_view(tracker: Destination, scenario: str, metric: str, queries: Sequence[str]) -> None:
    """Write the view of a sweep's pictures of queries, logged under ``queries/<name>``."""
    states = {"queries": _state("queries", short(metric), queries[:_MOST_CURVES])}
    write_views(tracker.client, tracker.experiment(scenario), states)


def write_views(client: MlflowClient, experiment_id: str, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Write or refresh views of an experiment; the same ones again change nothing.

    Args:
        states: key of `VIEWS` -> state, as `view_states` and `tuning_state` make them.
    """
    tags = client.get_experiment(experiment_id).tags
    for key, state in states.items():
        deflated = zlib.compress(json.dumps(state, sort_keys=True).encode())
        packed = "deflate;" + base64.b64encode(deflated).decode()
        there = json.dumps(packed) in tags.get(TAG + key, "")  # whatever else stands there is replaced
        if not there and len(packed) < _LIMIT - 500:
            created = int(time.time() * 1000)
            value = {"name": VIEWS[key], "createdAt": created, "updatedAt": created, "state": packed}
            client.set_experiment_tag(experiment_id, TAG + key, json.dumps(value))


def view_states(
    metric: str,
    domains: Sequence[str],
    *,
    known: Collection[str] | None = None,
    replicated: bool = True,
    few: bool = True,
) -> dict[str, dict[str, Any]]:
    """The views of measured runs: table, profile, trade-off, curves with bands over seeds, pictures.

    Args:
        metric: the primary metric as MLflow knows it, ``R5``.
        domains: the domains as parts of metric names.
        known: metrics that runs have, all by default: a chart of a metric that no run has stays empty.
        replicated: whether a method has several runs. Where none has, a group would repeat its only run:
            there are no groups, and no bands.
        few: whether there are no more runs than a card shows pictures of; MLflow takes the last of the list,
            in reverse.
    """
    apart = ("tuning", "queries") if replicated else ("tuning", "queries", "bands")
    states = {key: _state(key, metric, domains[:_MOST_CURVES]) for key in VIEWS if key not in apart}
    if not replicated:
        states["leaderboard"]["groupBy"] = None
    states["leaderboard"]["selectedColumns"] += ["attributes.`Dataset`"]
    keys = [mean_key(metric), *(MEASURES[name].mlflow for name in _PROFILE)]
    measured = [key for key in keys if known is None or key in known]
    states["profile"]["compareRunCharts"] = [_parallel("profile", "Profile", ["strategy"], measured)]
    states["grids"]["compareRunCharts"][0]["step"] = len(domains)
    states["grids"]["orderByAsc"] = few
    return states


def tuning_state(metric: str, studies: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The view of trials: a card of parallel coordinates per method, its drawn values and their score.

    A card shows the runs that have all that it asks for: each method's trials have a metric of their own.
    """
    state = _state("tuning", metric, [])
    (section,) = state["compareRunSections"]
    parts = [section | {"uuid": name, "name": f"{name}: {section['name']}"} for name in studies]
    cards = [_parallel(name, name, options, [trial_key(name)]) for name, options in studies.items()]
    searched = dict.fromkeys(["strategy", *(option for options in studies.values() for option in options)])
    columns = [f"params.`{name}`" for name in searched] + state["selectedColumns"]
    columned = {"selectedColumns": columns, "columnOrder": columns}
    return state | columned | {"compareRunCharts": cards, "compareRunSections": parts}


def _state(key: str, metric: str, domains: Sequence[str]) -> dict[str, Any]:
    """The templates of one view, put together and filled in."""
    names = {name: measure.mlflow for name, measure in MEASURES.items()}
    names |= {"metric": metric, "score": mean_key(metric)}
    view, charts = _TEMPLATES["views"][key], []
    for chart in view["charts"]:
        template = _filled(_TEMPLATES["chart"] | _TEMPLATES["charts"][chart["type"]], chart)
        repeated = "{domain}" in chart.get("y", "")
        charts += [_titled(_filled(template, names | {"domain": n})) for n in (domains if repeated else [""])]
    section = _TEMPLATES["section"] | view.get("section", {})
    sections = [_filled(section, {"section": uid, "name": name}) for uid, name in view["sections"].items()]
    columns = [f"metrics.`{name}`" for name in (names["score"], *(MEASURES[n].mlflow for n in _COLUMNS))]
    state = _filled(_TEMPLATES["state"] | view.get("state", {}), names)
    return {
        **state,
        "groupBy": state["groupBy"] if view.get("grouped") else None,
        "selectedColumns": columns,
        "columnOrder": columns.copy(),
        "columnWidths": dict.fromkeys(columns, 150),
        "compareRunSections": sections,
        "compareRunCharts": charts,
    }


def _parallel(section: str, name: str, params: Sequence[str], metrics: Sequence[str]) -> dict[str, Any]:
    """A card of parallel coordinates: one axis per parameter and per metric, one line per run."""
    template = _TEMPLATES["chart"] | _TEMPLATES["charts"]["PARALLEL"]
    card: dict[str, Any] = _filled(template, {"type": "PARALLEL", "section": section, "name": name})
    return card | {"selectedParams": list(params), "selectedMetrics": list(metrics)}


def _titled(chart: dict[str, Any]) -> dict[str, Any]:
    """A chart of metrics with their names for people as its title; pictures are titled by MLflow."""
    keys = [chart[axis]["key"] for axis in ("yaxis", "xaxis") if axis in chart] or [chart.get("metricKey")]
    words = [in_words(key) for key in keys if key]
    return chart | ({"displayName": " against ".join(words)} if words else {})


def _filled(node: Any, values: Mapping[str, str]) -> Any:
    """A copy of a tree with the ``{name}`` in its strings replaced by values."""
    text = json.dumps(node)
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", json.dumps(value)[1:-1])
    return json.loads(text)
