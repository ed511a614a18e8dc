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

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["TAG", "VIEWS", "leaderboard_link", "pack", "read_view", "unpack", "view_states", "write_views"]

VIEWS = {
    "leaderboard": "Leaderboard",
    "curves": "Forgetting curves",
    "tradeoff": "Trade-off",
    "means": "Means over seeds",
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


def write_views(
    client: MlflowClient, experiment_id: str, metric: str, domains: Sequence[str], keys: Sequence[str]
) -> None:
    """Write or refresh views of an experiment; the same ones again change nothing.

    Args:
        metric: the primary metric as MLflow knows it, ``R5``.
        domains: the domains as parts of metric names.
        keys: which of `VIEWS`.
    """
    states = view_states(metric, domains)
    for key in keys:
        packed = pack(states[key])
        old = read_view(client, experiment_id, key)
        if (old is None or old["state"] != packed) and len(packed) < _LIMIT - 500:
            created = int(time.time() * 1000)
            value = {"name": VIEWS[key], "createdAt": created, "updatedAt": created, "state": packed}
            client.set_experiment_tag(experiment_id, TAG + key, json.dumps(value))


def read_view(client: MlflowClient, experiment_id: str, key: str) -> dict[str, Any] | None:
    """The stored view with its packed state, or None."""
    text = client.get_experiment(experiment_id).tags.get(TAG + key)
    return None if text is None else json.loads(text)


def view_states(metric: str, domains: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Strategies in a table, domains over the stream (by seed; means, from trials), kept against lost."""
    score = f"cl/{metric}"
    curves = [_line(score, "curves"), _line("cl/forget", "curves")]
    curves += [_line(f"{metric}/{domain}", "domains") for domain in domains[:12]]
    grids = _chart("IMAGE", "grids", "grids", imageKeys=["retrieval_grid"], step=len(domains))
    tradeoff = [
        _scatter("cl/forget", score),
        _scatter("cost/train_M", score),
        _bar(score),
        _bar("cl/forget"),
        _bar("cl/zs"),
    ]
    stream, bars = ("curves", "Whole stream"), ("bars", "One by one")
    curve_sections = [stream, ("domains", "Domain by domain")]
    board = _state(score, "seed", [], [])
    # Not by the parameter `strategy`: the same strategy on another adapter is another method.
    keys = [{"mode": "tag", "groupByData": "clplat.label"}]
    board["groupBy"] = {"aggregateFunction": "average", "groupByKeys": keys}
    # Charts are not grouped: MLflow gives groups colours of its own, single runs wear that of their strategy.
    return {
        "leaderboard": board,
        "curves": _state(score, "seed", [*curves, grids], [*curve_sections, ("grids", "Retrieval grids")]),
        "tradeoff": _state(score, "seed", tradeoff, [("tradeoff", "Trade-off"), bars]),
        "means": _state(score, "trial", curves, curve_sections),
    }


def _state(
    score: str, level: str, charts: list[dict[str, Any]], sections: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    columns = [score, "cl/forget", "cl/bwt", "cl/fwt", "cl/zs", "cost/train_M", "cost/sec"]
    return {
        # A trial repeats its seeds' numbers: only one level at a time.
        "searchFilter": f"tags.`clplat.level` = '{level}'",
        "orderByKey": f"metrics.`{score}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"metrics.`{name}`" for name in columns],
        "columnOrder": [f"metrics.`{name}`" for name in columns],
        "columnWidths": {f"metrics.`{name}`": 150 for name in columns},
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
