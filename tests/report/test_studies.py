"""Fronts, searches and the looks that tell methods apart, on the drawn objects."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clplat.plots.canvas import spread
from clplat.plots.styles import styles_of, styles_of_methods
from clplat.report.studies import feasible, front, history, pairs, pareto

Outcome = dict[str, Any]
Make = Callable[..., Outcome]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=12))
def test_the_front_is_what_no_other_point_beats(spots: list[tuple[int, int, int]]) -> None:
    found = front(spots, (False, True, False))
    for k, (a, b, c) in enumerate(spots):
        beaten = False
        for x, y, z in spots:
            if x >= a and y <= b and z >= c and (x > a or y < b or z > c):
                beaten = True
        assert (k in found) is not beaten


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8))
def test_spread_names_keep_their_order_and_distance(places: list[float]) -> None:
    moved = spread(places, 1.0, 0.0, 10.0)
    order = sorted(range(len(places)), key=places.__getitem__)
    assert all(moved[b] - moved[a] >= 1.0 - 1e-9 for a, b in itertools.pairwise(order))
    assert min(moved) >= -1e-9 and max(moved) <= 10 + 1e-9


def test_open_marks_break_a_limit_and_the_line_is_the_front(make_sweep: Make, tmp_path: Path) -> None:
    outcome = make_sweep(tmp_path, (("replay", "tuned"),), seeds=(0,), trials=40)
    look = styles_of_methods(["replay"], outcome["rows"], styles_of(outcome["rows"]))
    (pair,) = pairs(outcome)
    assert (pair.x, pair.y) == ("forgetting", "final")
    drawn = pareto(outcome["studies"], pair, "R@5", look)
    assert drawn is not None
    trials = [trial for trial in outcome["studies"][0]["trials"] if trial["state"] == "complete"]
    met = [trial for trial in trials if trial["measures"]["forgetting"] <= 5]
    assert [feasible(trial) for trial in trials] == [trial in met for trial in trials]
    (axes,) = drawn[0].axes
    filled, open_, *_ = axes.lines
    assert len(filled.get_xdata()) == len(met)
    assert len(open_.get_xdata()) == len(trials) - len(met) and open_.get_markerfacecolor() == "white"
    line = next(line for line in axes.lines if line.get_label() == "front")
    best = sorted(
        (t["measures"]["forgetting"], t["measures"]["final"])
        for t in met
        if not any(
            o["measures"]["forgetting"] < t["measures"]["forgetting"]
            and o["measures"]["final"] > t["measures"]["final"]
            for o in met
        )
    )
    assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == best
    assert f"{len(met)} meet every limit" in drawn[1]


def test_pairs_follow_the_objectives_or_the_limit_that_bites() -> None:
    trial = {"constraints": {"forgetting": -1.0, "seconds": 4.0}}
    outcome: Outcome = {
        "objectives": ["final"], "constraints": {"forgetting": 5, "seconds": 60},
        "studies": [{"trials": [trial]}],
    }  # fmt: skip
    assert [(p.x, p.y) for p in pairs(outcome)] == [("seconds", "final")]
    assert pairs(outcome | {"constraints": {}}) == []
    several = pairs(outcome | {"objectives": ["plasticity", "stability", "seconds"]})
    assert [(p.x, p.y) for p in several] == [("stability", "plasticity"), ("seconds", "plasticity")]


def test_a_search_shows_the_best_so_far_and_what_ended_early(make_sweep: Make, tmp_path: Path) -> None:
    outcome = make_sweep(tmp_path, (("ewc", "tuned"),), seeds=(0,), trials=30)
    (study,) = outcome["studies"]
    drawn = history(study, "R@5", styles_of_methods(["ewc"], outcome["rows"], styles_of(outcome["rows"])))
    assert drawn is not None
    (axes,) = drawn[0].axes
    steps = next(line for line in axes.lines if line.get_drawstyle() == "steps-post")
    heights = list(steps.get_ydata())
    best = next(trial for trial in study["trials"] if trial["number"] == study["best"])
    assert heights == sorted(heights) and heights[-1] == best["values"][0]
    pruned = next(line for line in axes.lines if line.get_marker() == "|")
    assert list(pruned.get_xdata()) == [t["number"] for t in study["trials"] if t["state"] == "pruned"]
    assert "1 failed" in drawn[1] and f"in trial {study['best']}" in drawn[1]


def test_two_methods_of_one_strategy_never_look_the_same() -> None:
    rows = [
        {"label": f"{s} {k}", "strategy": s, "kind": "tuned"} for k in range(5) for s in ("replay", "ewc")
    ]
    look = styles_of(rows)
    assert len({(style.colour, style.marker, style.dash) for style in look.values()}) == 10
    assert len({style.marker for style in look.values()}) == 10  # without colours too


@pytest.mark.parametrize("state", ["running", "waiting", "failed"])
def test_a_study_without_finished_trials_draws_nothing(state: str) -> None:
    trial = {"number": 0, "state": state, "values": None, "params": {}, "measures": {}, "constraints": {}}
    study = {"group": "", "method": "replay", "objectives": ["final"], "trials": [trial] * 3, "best": None}
    look = styles_of_methods(["replay"], [], {})
    assert history(study, "R@5", look) is None
    outcome = {"objectives": ["final"], "constraints": {"forgetting": 5}, "studies": [study]}
    assert pareto([study], pairs(outcome)[0], "R@5", look) is None
