"""Chance stands as a control in every table of methods, where the runs say what it is."""

from __future__ import annotations

from typing import Any

from clplat.report.answer import answer_table
from clplat.tables.comparison import plain
from clplat.tables.sweep import sweep_table
from clplat.tables.text import aligned


def row(label: str, mean: float, **more: Any) -> dict[str, Any]:
    score = {"mean": mean, "sd": None, "low": mean - 1, "high": mean + 1}
    usual = {"group": "", "kind": "default", "bound": False, "measures": {}, "feasible": None, "n": 1}
    return {"label": label, "score": score, "params": {}, **usual, **more}


def test_the_table_of_a_sweep_ends_with_chance() -> None:
    rows = [row("replay", 40.0, chance=1.94), row("frozen", 2.1, kind="control", chance=1.94)]
    outcome = {"rows": rows, "primary": "mAP@10", "constraints": {}, "domains": ["a"]}
    text = aligned(*sweep_table(outcome)).splitlines()
    assert [line.split()[0] for line in text[1:]] == ["replay", "frozen", "chance"]
    assert text[-1].split()[1] == "1.9"
    _, others = answer_table(rows, outcome, {}).parts
    assert [entry["label"] for entry in others.rows] == ["frozen", "chance"]
    limited = answer_table(rows, {**outcome, "constraints": {"forgetting": 5.0}}, {})
    [fits] = [column for column in limited.columns if column.title.startswith("within")]
    assert fits.of(limited.parts[-1].rows[-1]) == "–"
    del rows[0]["chance"], rows[1]["chance"]  # of an earlier release
    assert "chance" not in aligned(*sweep_table(outcome))
    assert len(answer_table(rows, outcome, {}).parts[-1].rows) == 1


def test_every_group_has_its_own() -> None:
    rows = [row("a", 40.0, group="x", chance=1.0), row("a", 40.0, group="y", chance=5.0)]
    body = sweep_table({"rows": rows, "primary": "R@5", "constraints": {"seconds": 1}})[1]
    assert [line[:3] for line in body[2:]] == [["x", "chance", "1.0"], ["y", "chance", "5.0"]]
    assert {len(line) for line in body} == {6}


def test_the_comparison_of_tracked_runs_has_it_too() -> None:
    numbers = dict.fromkeys(("R1", "R5", "forget", "bwt", "fwt", "zs", "trainable_M", "seconds"))
    one = {"scenario": "s", "label": "ewc", "strategy": "ewc", "primary": "R5", "n": 1, "R5_std": None}
    text = plain([{**numbers, **one, "R1": 3.0, "R5": 9.0, "score": 9.0, "score_std": None, "chance": 2.5}])
    assert text.splitlines()[-1].split() == ["chance", "–", "2.5"]
