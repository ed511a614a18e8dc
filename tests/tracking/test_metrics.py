"""Names, values and limits, without MLflow's store."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import MAX_ENTITY_KEY_LENGTH, _validate_metric_name

from clplat.naming import NAME_LENGTH, flat, label, run_name, variant
from clplat.tracking.descriptions import note
from clplat.tracking.metrics import closing_metrics, domain_keys, row_metrics, short, training_curves

Make = Callable[..., dict[str, Any]]


def test_a_row_by_hand(make_result: Make) -> None:
    result = make_result("replay", domains=["a", "b"])
    result["metrics"] = {"R@5": [[10.0, 20.0], [30.0, 22.0], [26.0, 40.123456]]}
    found = row_metrics(result, 2)
    assert found["R5/a"] == 26.0
    assert found["R5/b"] == 40.1235
    assert found["cl/R5"] == pytest.approx(33.0617)
    assert found["base/image_only"] == 12.0
    assert found["tags/combination_seen.R5"] == result["tags"]["combination=seen"]["R@5"][2][0].__round__(4)
    assert found["probe/general-retrieval.R1"] == result["probes"]["general-retrieval"]["R@1"][2]
    assert found["cl/forget"] == round(result["scores"][2]["forgetting_max"], 4)
    assert found["cl/seen"] == round(result["scores"][2]["acc_last"], 4)
    assert found["compat/AC"] == 0.5
    own, first, second = (result["compatibility"]["R@5"][2][j] for j in (2, 0, 1))
    assert found["compat/self"] == round(own, 4)
    assert found["compat/first"] == round(first, 4)
    assert found["compat/old"] == round((first + second) / 2, 4)


def test_what_is_undefined_is_left_out(make_result: Make) -> None:
    found = row_metrics(make_result(), 0)
    assert "cl/forget" not in found
    assert "compat/old" not in found
    assert found["cl/zs"] == 100
    assert all(isinstance(value, float) for value in found.values())


def test_retention_without_a_score_comes_from_the_probes(make_result: Make) -> None:
    result = make_result("naive")
    for row in result["scores"]:
        del row["zs_retention"]
    assert row_metrics(result, 4)["cl/zs"] == pytest.approx(100 * (50 - 0.5 * 7 * 4) / 50)


def test_cost_in_short_units(make_result: Make) -> None:
    found = closing_metrics(make_result(seed=1))
    assert found["cost/train_M"] == 0.1311
    assert found["cost/sec"] == 13.5
    assert found["cost/peak_MB"] == 310


def test_training_curves_skip_what_is_missing(make_result: Make) -> None:
    assert list(training_curves(make_result())) == [
        (10, {"train/task": 1.5}),
        (20, {"train/task": 1.25, "train/penalty": 0.5}),
    ]
    assert list(training_curves({})) == []


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=20, unique=True))
def test_any_domain_name_gives_valid_distinct_metric_names(domains: list[str]) -> None:
    keys = domain_keys(domains)
    assert len(set(keys)) == len(domains)
    for key in keys:
        _validate_metric_name(f"mAP10/{key}")
        assert len(f"mAP10/{key}") <= MAX_ENTITY_KEY_LENGTH


@settings(deadline=None)
@given(
    st.text(min_size=1, max_size=60).filter(str.strip),
    st.integers(0, 10**6),
    st.one_of(st.none(), st.integers(1, 512)),
)
def test_run_names_fit_and_keep_the_seed(strategy: str, seed: int, rank: int | None) -> None:
    config = {"adapter": {"name": "lora", "rank": rank}, "strategy": {"name": strategy}, "seed": seed}
    name = run_name(config)
    assert len(name) <= NAME_LENGTH
    assert name.endswith(f"s{seed}")


def test_names_tell_the_most_first() -> None:
    plain = {"adapter": {"name": "full"}, "prompt": {"name": "none"}, "projection": {"name": "identity"}}
    assert run_name(plain | {"strategy": {"name": "replay", "size": 200}, "seed": 0}) == "replay s0"
    assert run_name({"adapter": {"name": "lora", "rank": 8}, "strategy": {"name": "ewc"}}) == "lora r8 ewc s0"
    assert label({"strategy": "naive"}) == "naive"
    assert short("mAP@10") == "mAP10"


def test_variants_differ_in_more_than_the_seed(make_result: Make) -> None:
    one, two = make_result(seed=0)["config"], make_result(seed=1)["config"]
    assert variant(one) == variant(two | {"device": "cuda"})
    assert variant(one) != variant(one | {"train": {"epochs": 3, "lr": 0.001}})


def test_parameters_are_the_options_that_are_set() -> None:
    config = {
        "adapter": None,
        "backbone": {"name": "tiny", "pretrained": None},
        "x": {"y": {"z": 0}},
        "e": [],
    }
    assert flat(config) == {"backbone": "tiny", "x.y.z": 0}


def test_a_long_command_is_folded_and_still_runs(make_result: Make) -> None:
    options = " ".join(f"--scenario.option{i} {i}" for i in range(12))
    text = note(make_result() | {"command": f"clplat run {options}"})
    shown = text.split("```")[1].removeprefix("sh\n")
    assert max(map(len, shown.splitlines())) <= 70
    assert shlex.split(shown.replace("\\\n", "")) == ["clplat", "run", *options.split()]


def test_the_tracker_knows_no_torch_and_loads_mlflow_late() -> None:
    heavy = ("torch", "mlflow", "matplotlib")
    code = f"import sys, clplat.tracking; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_the_note_says_what_when_and_how(make_result: Make) -> None:
    text = note(make_result("replay", 3, rows=3))
    assert "split" not in text
    tried = make_result("replay", 3)
    tried["protocol"]["split"] = "val"
    assert "seed 3, split `val`: " in note(tried)
    assert "**replay** on `catalogue`, seed 3: 2 of 4 domains (running)." in text
    assert "|R@5&emsp;|forgetting&emsp;|zero-shot kept&emsp;|trainable&emsp;|" in text
    assert "clplat run --strategy replay --seed 3" in text
    failed = make_result(rows=0) | {"status": "failed", "failure": {"error": "loss is nan"}}
    assert "nothing yet (**failed**)" in note(failed)
    assert "loss is nan" in note(failed)
