"""Saved views: the MLflow page that opens on the answer instead of on a list of run names.

MLflow 3.17 keeps a shared view in an experiment tag, as deflated JSON. That is no documented interface: it is
written here and nowhere else, a test reads it back, and a failure costs the view and nothing more.

What the views show is in ``views.json``. They list runs of one level only: a trial repeats the numbers of its
seeds. Groups are by label, not by strategy: one strategy on two adapters is two methods. Groups get
colours from MLflow, and two may share one; that is why single runs, in the colours of their strategies, have
their own view beside the one with bands.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clplat.measures import COMPARED, MEASURES
from clplat.naming import part
from clplat.tracking.destination import Destination
from clplat.tracking.metrics import domain_keys, mean_key, primary, short

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = [
    "TAG", "VIEWS", "leaderboard_link", "tuning_state", "view_states", "write_run_views", "write_tuning_view",
    "write_views",
]  # fmt: skip

_TEMPLATES: dict[str, Any] = json.loads(Path(__file__).with_name("views.json").read_text(encoding="utf-8"))
VIEWS = {key: str(view["title"]) for key, view in _TEMPLATES["views"].items()}
TAG = "mlflow.sharedViewState."
_LIMIT = 20_000  # characters of an experiment tag
_MOST_CURVES = 12


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
    """The views of measured runs, once per experiment and tracker: they are the same for all its runs."""
    experiment_id = tracker.experiment(part(result["config"], "scenario"))
    if experiment_id not in tracker.with_views:
        tracker.with_views.add(experiment_id)
        states = view_states(short(primary(result)), domain_keys(result["domains"]))
        write_views(tracker.client, experiment_id, states)


def write_tuning_view(tracker: Destination, scenario: str, metric: str, params: Sequence[str]) -> None:
    """Write the view of a study's trials, those of level ``trial`` on split ``val``.

    Args:
        scenario: names the experiment.
        metric: what the trials were chosen by: ``R@5`` or ``R5``.
        params: what they searched, dotted: ``strategy.lam``.
    """
    states = {"tuning": tuning_state(short(metric), params)}
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
        old = json.loads(tags[TAG + key]) if TAG + key in tags else {}
        if old.get("state") != packed and len(packed) < _LIMIT - 500:
            created = int(time.time() * 1000)
            value = {"name": VIEWS[key], "createdAt": created, "updatedAt": created, "state": packed}
            client.set_experiment_tag(experiment_id, TAG + key, json.dumps(value))


def view_states(metric: str, domains: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The views of measured runs: table, trade-off, curves with bands over seeds, pictures.

    Args:
        metric: the primary metric as MLflow knows it, ``R5``.
        domains: the domains as parts of metric names.
    """
    states = {key: _state(key, metric, domains[:_MOST_CURVES]) for key in VIEWS if key != "tuning"}
    states["leaderboard"]["selectedColumns"] += ["attributes.`Dataset`"]
    states["grids"]["compareRunCharts"][0]["step"] = len(domains)
    return states


def tuning_state(metric: str, params: Sequence[str]) -> dict[str, Any]:
    """The view of a study's trials: the drawn values and the score as parallel coordinates."""
    state = _state("tuning", metric, [])
    state["compareRunCharts"][0]["selectedParams"] = list(params)
    columns = [f"params.`{name}`" for name in params] + state["selectedColumns"]
    return state | {"selectedColumns": columns, "columnOrder": columns}


def _state(key: str, metric: str, domains: Sequence[str]) -> dict[str, Any]:
    """The templates of one view, put together and filled in."""
    names = {name: measure.mlflow for name, measure in MEASURES.items()}
    names |= {"metric": metric, "score": mean_key(metric)}
    view, charts = _TEMPLATES["views"][key], []
    for chart in view["charts"]:
        template = _filled(_TEMPLATES["chart"] | _TEMPLATES["charts"][chart["type"]], chart)
        repeated = "{domain}" in chart.get("y", "")
        charts += [_filled(template, names | {"domain": name}) for name in (domains if repeated else [""])]
    section = _TEMPLATES["section"] | view.get("section", {})
    sections = [_filled(section, {"section": uid, "name": name}) for uid, name in view["sections"].items()]
    columns = [f"metrics.`{name}`" for name in (names["score"], *(measure.mlflow for measure in COMPARED))]
    return {
        **_filled(_TEMPLATES["state"] | view.get("state", {}), names),
        "selectedColumns": columns,
        "columnOrder": columns.copy(),
        "columnWidths": dict.fromkeys(columns, 150),
        "compareRunSections": sections,
        "compareRunCharts": charts,
    }


def _filled(node: Any, values: Mapping[str, str]) -> Any:
    """A copy of a tree with the ``{name}`` in its strings replaced by values."""
    text = json.dumps(node)
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", json.dumps(value)[1:-1])
    return json.loads(text)
