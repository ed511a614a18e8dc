"""One table names every number: the values of a result, and no other module that spells these names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import clplat
from clplat.errors import UserError
from clplat.evaluation.continual import forgetting_max, zs_lost
from clplat.measures import COMPARED, LOGGED_COSTS, MEASURES, describe, evaluate_measures, find_measure

HOME = Path(clplat.__file__).parent
EVERY = (*MEASURES.values(), *LOGGED_COSTS)


def test_a_result_by_hand() -> None:
    result = {
        "protocol": {"primary": "R@5"},
        "metrics": {"R@5": [[10.0, 20.0], [30.0, 22.0], [26.0, 40.0]]},
        "scores": [{}, {}, {"forgetting_max": 4.0, "zs_retention": 90.0}],
        "cost": {"training_flops": 7},
        "measured": {"train_seconds": 1.5, "evaluation_seconds": 0.5},
    }
    known = {name: value for name, value in evaluate_measures(result).items() if value is not None}
    assert known == {
        "final": 33.0,
        "stability": 26.0,
        "forgetting": 4.0,
        "zero_shot_lost": 0.0,
        "zero_shot": 90.0,
        "training_flops": 7,
        "seconds": 2.0,
    }
    empty = result | {"metrics": {"R@5": []}, "scores": []}
    assert all(MEASURES[name].value(empty) is None for name in ("final", "stability", "forgetting"))


def test_an_old_result_is_read_by_the_definition_of_today() -> None:
    """It counted 80, what the first domain's model knew of the second, as forgotten by its training."""
    rows = [[10.0, 80.0, 5.0], [60.0, 80.0, 5.0], [60.0, 20.0, 5.0], [50.0, 20.0, 40.0]]
    old = {
        "protocol": {"primary": "R@5"},
        "metrics": {"R@5": rows},
        "scores": [{}, {}, {}, {"forgetting_max": (10 + 60) / 2}],
        "cost": {},
        "measured": {"train_seconds": 1.0, "evaluation_seconds": 0.5},
    }
    assert MEASURES["forgetting"].value(old) == forgetting_max(rows) == 5.0
    assert MEASURES["zero_shot_lost"].value(old) == zs_lost(rows) == 20.0
    assert old["scores"][-1] == {"forgetting_max": 35.0}, "what is read is not written to"
    new = {**old, "scores": [{}, {}, {}, {"forgetting_max": 7.0, "zs_lost": 3.0}]}
    assert (MEASURES["forgetting"].value(new), MEASURES["zero_shot_lost"].value(new)) == (7.0, 3.0)


def test_names_are_found_or_the_nearest_is_offered() -> None:
    assert find_measure("forgetting") is describe("forgetting")
    assert (describe("mAP@10").unit, describe("mAP@10").title, describe("lr").unit) == (
        "percent", "mAP@10", "number",
    )  # fmt: skip
    with pytest.raises(UserError, match="did you mean 'forgetting'"):
        find_measure("forgeting")


def test_every_name_is_its_own() -> None:
    for names in (
        [measure.mlflow for measure in EVERY if measure.mlflow],
        [measure.heading for measure in EVERY if measure.heading],
        [measure.column for measure in COMPARED],
        [measure.title for measure in EVERY],
    ):
        assert len(set(names)) == len(names)
    assert {measure.better for measure in EVERY} == {"higher", "lower"}


def test_no_other_module_spells_a_key_or_a_heading() -> None:
    names = {name for measure in EVERY for name in (measure.mlflow, measure.heading) if name}
    words = "|".join(re.escape(name) for name in sorted(names))
    spelled = re.compile(rf"""["'`](?:{words})["'`]""")
    found = {
        path.relative_to(HOME).as_posix(): spelled.findall(path.read_text(encoding="utf-8"))
        for path in HOME.rglob("*.py")
        if path.name not in ("measures.py", "formats.py")  # a heading may be a unit, and formats writes units
    }
    assert {name: spellings for name, spellings in found.items() if spellings} == {}
