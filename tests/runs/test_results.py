"""The tables of a result: a row per model version in each, whatever was measured of it."""

from __future__ import annotations

from typing import Any

import torch

from clplat.config.resolve import resolve
from clplat.evaluation.evaluator import SetMetrics, VersionMetrics
from clplat.runs.assembly import assemble
from clplat.runs.blank import blank as blank_result
from clplat.runs.blank import completed_result
from clplat.runs.results import add_numbers, add_row
from clplat.tracking.metrics import row_metrics


def blank() -> dict[str, Any]:
    tables: dict[str, Any] = {
        name: {} for name in ("metrics", "tags", "baselines", "probes", "compatibility", "numbers")
    }
    more = {"scores": [], "ties": [], "cost": {}, "domains": ["a", "b"], "protocol": {"primary": "R@1"}}
    return tables | more


def measured(version: int, late: bool) -> VersionMetrics:
    """A row in which some numbers appear only later."""
    row = VersionMetrics(
        metrics={"R@1": [10.0 + version, 20.0]}, ties=[0, 0], galleries={"a": torch.ones(2, 4)}
    )
    row.probes = {"old": {"accuracy": 50.0 - version}}
    row.tags = {"colour": {"R@1": [1.0, 2.0]}}
    if late:
        row.metrics["R@1/late"] = [float(version), 0.0]
        row.tags["shape"] = {"R@1": [3.0, None]}
        row.probes["new"] = {"accuracy": 30.0}
        row.baselines = {"text_only": {"R@1": [5.0, 6.0]}}
    return row


def test_a_number_that_a_version_lacks_leaves_its_place() -> None:
    result = blank()
    for version in range(3):
        cells: dict[str, list[float]] = {"R@1": [float(i) for i in range(version + 1)]}
        if version == 1:
            cells["R@1/late"] = [7.0, 8.0]
        add_row(result, measured(version, late=version == 1), cells, None)
    assert result["metrics"]["R@1"] == [[10.0, 20.0], [11.0, 20.0], [12.0, 20.0]]
    assert result["metrics"]["R@1/late"] == [None, [1.0, 0.0], None]
    assert result["tags"]["shape"]["R@1"] == [None, [3.0, None], None]
    assert result["baselines"]["text_only"]["R@1"] == [None, [5.0, 6.0], None]
    assert result["probes"]["new"]["accuracy"] == [None, 30.0, None]
    assert result["compatibility"]["R@1"] == [[0.0, None, None], [0.0, 1.0, None], [0.0, 1.0, 2.0]]
    assert result["compatibility"]["R@1/late"] == [None, [7.0, 8.0, None], None]
    assert result["scores"][2]["zs_retention"] == 96.0, "of the probe that every version has"
    assert {row_metrics(result, i).get("probe/new.accuracy") for i in range(3)} == {None, 30.0}


def test_a_strategys_own_numbers_have_a_place_a_version_too() -> None:
    result = blank()
    for version, numbers in enumerate([{}, {"gap": 0.25, "rank": 8}, {"gap": 1 / 3}]):
        add_row(result, measured(version, late=False), {"R@1": [1.0] * (version + 1)}, None)
        add_numbers(result, numbers)
    assert result["numbers"] == {"gap": [None, 0.25, 0.333333], "rank": [None, 8, None]}
    assert row_metrics(result, 1)["strategy/rank"] == 8.0
    assert "strategy/gap" not in row_metrics(result, 0) and row_metrics(result, 2)["strategy/gap"] == 0.3333


def test_further_sets_have_a_row_a_version_too() -> None:
    result = {**blank(), "sets": {"union": {"metrics": {}, "ties": []}}}
    for version in range(2):
        row = measured(version, late=False)
        row.sets["union"] = SetMetrics({"R@1": [8.0, None]} if version else {}, [version, None])
        add_row(result, row, {"R@1": [1.0] * (version + 1)}, None)
    assert result["sets"]["union"] == {
        "metrics": {"R@1": [None, [8.0, None]]},
        "ties": [[0, None], [1, None]],
    }


def test_a_result_of_schema_1_is_completed() -> None:
    config = resolve(
        {"scenario": {"name": "catalogue", "domains": 1, "train": 8, "queries": 4, "gallery": 20}}
    )
    today = blank_result(config, assemble(config))
    old = {key: value for key, value in today.items() if key not in ("sets", "views", "extra_data")}
    younger = ("metrics", "tie_rule", "labels", "others")
    old["protocol"] = {key: value for key, value in today["protocol"].items() if key not in younger}
    assert completed_result({**old, "schema": 1}) == today
