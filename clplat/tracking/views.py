"""Saved views: the MLflow page that opens on the answer instead of on a list of run names.

MLflow 3.17 keeps a shared view in an experiment tag, as deflated JSON. That is no documented interface: it is
written here and nowhere else, a test reads it back, and a failure costs the view and nothing more.
"""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clplat.measures import COMPARED, MEASURES
from clplat.tracking.metrics import mean_key

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = [
    "TAG",
    "VIEWS",
    "leaderboard_link",
    "pack",
    "read_view",
    "tuning_state",
    "unpack",
    "view_states",
    "write_views",
]

VIEWS = {
    "leaderboard": "Leaderboard",
    "tradeoff": "Trade-off",
    "curves": "Forgetting curves",
    "bands": "Means and bands over seeds",
    "grids": "Retrieval grids",
    "tuning": "Tuning",
}
TAG = "mlflow.sharedViewState."
_OURS = {"deleted": False, "isGenerated": False}
_LIMIT = 20_000  # characters of an experiment tag


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


def pack(state: Mapping[str, Any]) -> str:
    """The state as MLflow stores it: JSON, deflated, base64."""
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state, sort_keys=True).encode())).decode()


def unpack(packed: str) -> dict[str, Any]:
    """The inverse of `pack`."""
    state: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed.removeprefix("deflate;"))))
    return state


def write_views(client: MlflowClient, experiment_id: str, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Write or refresh views of an experiment; the same ones again change nothing.

    Args:
        states: key of `VIEWS` -> state, as `view_states` and `tuning_state` make them.
    """
    tags = client.get_experiment(experiment_id).tags
    for key, state in states.items():
        packed = pack(state)
        old = json.loads(tags[TAG + key]) if TAG + key in tags else {}
        if old.get("state") != packed and len(packed) < _LIMIT - 500:
            created = int(time.time() * 1000)
            value = {"name": VIEWS[key], "createdAt": created, "updatedAt": created, "state": packed}
            client.set_experiment_tag(experiment_id, TAG + key, json.dumps(value))


def read_view(client: MlflowClient, experiment_id: str, key: str) -> dict[str, Any] | None:
    """The stored view with its packed state, or None."""
    text = client.get_experiment(experiment_id).tags.get(TAG + key)
    return None if text is None else json.loads(text)


def view_states(metric: str, domains: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The views of measured runs: table, trade-off, curves with bands over seeds, pictures.

    Args:
        metric: the primary metric as MLflow knows it, ``R5``.
        domains: the domains as parts of metric names.
    """
    score, seeds = mean_key(metric), "tags.`clplat.level` = 'seed'"
    board = _state(score, seeds, [], [])
    # Not by the parameter `strategy`: the same strategy on another adapter is another method.
    keys = [{"mode": "tag", "groupByData": "clplat.label"}]
    by_method = {"aggregateFunction": "average", "groupByKeys": keys}
    board["groupBy"] = by_method
    board["selectedColumns"] = [*board["selectedColumns"], "attributes.`Dataset`"]
    names = ("forgetting", "zero_shot", "trainable_parameters")
    forgetting, zero_shot, trained = (MEASURES[name].mlflow for name in names)
    points = [_scatter(forgetting, score), _scatter(trained, score)]
    points += [_bar(score), _bar(forgetting), _bar(zero_shot)]
    lines = [_line(score, "curves"), _line(forgetting, "curves")]
    lines += [_line(f"{metric}/{domain}", "domains") for domain in domains[:12]]
    curves = _state(score, seeds, lines, [("curves", "Whole stream"), ("domains", "Domain by domain")])
    # Groups get colours of MLflow's own, and two may share one: single runs wear that of their strategy.
    bands = curves | {"groupBy": by_method}
    grids = _chart("IMAGE", "grids", "grids", imageKeys=["retrieval_grid"], step=len(domains))
    return {
        "leaderboard": board,
        "tradeoff": _state(score, seeds, points, [("tradeoff", "Trade-off"), ("bars", "One by one")]),
        "curves": curves,
        "bands": bands,
        "grids": _state(
            score, seeds, [grids], [("grids", "The same queries after each domain")], columns=1, height=760
        ),
    }


def tuning_state(metric: str, params: Sequence[str]) -> dict[str, Any]:
    """The view of a study's trials: what was drawn and what came of it, as parallel coordinates.

    Args:
        metric: what the trials were chosen by, as MLflow knows it: ``R5``.
        params: dotted parameters, ``strategy.lam``.
    """
    score = mean_key(metric)
    chart = _chart(
        "PARALLEL",
        "parallel",
        "trials",
        selectedParams=list(params),
        selectedMetrics=[score],
        showAllRuns=True,
    )
    search = "tags.`clplat.level` = 'trial' AND tags.`clplat.split` = 'val'"
    sections = [("trials", "Trials, on the validation split")]
    state = _state(score, search, [chart], sections, columns=1, height=480)
    columns = [f"params.`{name}`" for name in params] + state["selectedColumns"]
    return state | {"selectedColumns": columns, "columnOrder": columns}


def _state(
    score: str,
    search: str,
    charts: list[dict[str, Any]],
    sections: Sequence[tuple[str, str]],
    *,
    columns: int = 2,
    height: int = 400,
) -> dict[str, Any]:
    """``columns``: charts side by side; ``height``: of a chart, in pixels."""
    shown = [score, *(measure.mlflow for measure in COMPARED)]
    return {
        # A trial repeats its seeds' numbers: only one level at a time.
        "searchFilter": search,
        "orderByKey": f"metrics.`{score}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"metrics.`{name}`" for name in shown],
        "columnOrder": [f"metrics.`{name}`" for name in shown],
        "columnWidths": {f"metrics.`{name}`": 150 for name in shown},
        "runsHiddenMode": "SHOW_ALL",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "compareRunSections": [
            {
                "uuid": uid,
                "name": name,
                "display": True,
                "isReordered": True,
                "deleted": False,
                "isGenerated": False,
                "columns": columns,
                "cardHeight": height,
            }
            for uid, name in sections
        ],
        "compareRunCharts": charts,
    }


def _chart(kind: str, uid: str, section: str, **options: Any) -> dict[str, Any]:
    return (
        {"uuid": uid, "type": kind, "metricSectionId": section, "runsCountToCompare": 100} | _OURS | options
    )


def _axis(name: str) -> dict[str, str]:
    return {"key": name, "type": "METRIC"}


def _scatter(x: str, y: str) -> dict[str, Any]:
    return _chart("SCATTER", f"scatter-{x}", "tradeoff", xaxis=_axis(x), yaxis=_axis(y))


def _bar(name: str) -> dict[str, Any]:
    return _chart("BAR", f"bar-{name}", "bars", metricKey=name)


def _line(name: str, section: str) -> dict[str, Any]:
    return _chart(
        "LINE",
        f"line-{name}",
        section,
        metricKey=name,
        selectedMetricKeys=[name],
        selectedYAxisMetricKey=name,
        yAxisKey="metric",
        scaleType="linear",
        xAxisScaleType="linear",
        xAxisKey="step",
        lineSmoothness=0,
        displayPoints=True,
        range={"xMin": None, "xMax": None, "yMin": None, "yMax": None},
        ignoreOutliers=False,
        useGlobalXaxisKey=True,
        selectedXAxisMetricKey="",
    )
