"""Rows of a result: what is new in a later version, and what older results lack."""

from __future__ import annotations

from typing import Any

import torch

from clplat.config.resolve import resolve
from clplat.evaluation.evaluator import SetMetrics, VersionMetrics
from clplat.runs.assembly import assemble
from clplat.runs.results import add_row, blank, completed_result

SIZES = {"name": "catalogue", "domains": 2, "train": 8, "queries": 4, "gallery": 20, "size": 16}


def empty() -> dict[str, Any]:
    config = resolve({"scenario": SIZES})
    return blank(config, assemble(config))


def version(value: float, **more: Any) -> VersionMetrics:
    row = VersionMetrics(metrics={"R@5": [value, value]}, ties=[0, 0], galleries={"g": torch.ones(3, 4)})
    for name, held in more.items():
        setattr(row, name, held)
    return row


def test_what_a_later_version_measures_first_starts_with_empty_rows() -> None:
    result = empty()
    result["sets"]["union"] = {"metrics": {}, "ties": []}
    add_row(result, version(1.0, sets={"union": SetMetrics({}, [None, None])}), {"R@5": [1.0]}, None)
    later = version(
        2.0,
        metrics={"R@5": [2.0, 2.0], "MRR": [3.0, None]},
        baselines={"text_only": {"R@5": [4.0, 5.0]}},
        tags={"seen": {"R@5": [6.0, None]}},
        probes={"words": {"accuracy": 7.0}},
        sets={"union": SetMetrics({"R@1": [8.0, None]}, [0, None])},
    )
    add_row(result, later, {"R@5": [2.0, 3.0], "MRR": [4.0, 5.0]}, 50.0)
    add_row(result, version(9.0), {"R@5": [1.0, 2.0, 3.0]}, 50.0)
    nothing = [None, None]
    assert result["metrics"] == {"R@5": [[1, 1], [2, 2], [9, 9]], "MRR": [nothing, [3, None], nothing]}
    assert result["baselines"]["text_only"]["R@5"] == [nothing, [4, 5], nothing]
    assert result["tags"]["seen"]["R@5"] == [nothing, [6, None], nothing]
    assert result["probes"]["words"]["accuracy"] == [None, 7, None]
    assert result["sets"]["union"]["metrics"]["R@1"][:2] == [nothing, [8, None]]
    empty_row = [None] * 3
    assert result["compatibility"]["MRR"] == [empty_row, [4, 5, None], empty_row]
    assert [len(row) for row in result["compatibility"]["R@5"]] == [3, 3, 3]


def test_a_result_of_schema_1_is_completed() -> None:
    today = empty()
    old = {key: value for key, value in today.items() if key not in ("sets", "views", "extra_data")}
    younger = ("metrics", "tie_rule", "labels", "others")
    old["protocol"] = {key: value for key, value in today["protocol"].items() if key not in younger}
    assert completed_result({**old, "schema": 1}) == today
