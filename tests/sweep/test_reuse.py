"""A folder of a sweep is used again for the same configuration only; what differs is said, in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from clplat.cli import main
from clplat.errors import UserError
from clplat.files import read_json, write_json
from clplat.sweep import Budget, Sweep, read_sweep
from clplat.sweep.layout import Layout
from clplat.sweep.outcome import collect
from clplat.sweep.queue import Queue
from clplat.sweep.reuse import check_reuse
from clplat.sweep.run import gather, run_sweep
from clplat.sweep.studies import Studies
from clplat.trees import save_tree
from clplat.tuning.storage import open_storage

pytestmark = pytest.mark.usefixtures("one_thread")

BASE = {
    "scenario": {"name": "catalogue", "domains": 2, "train": 16, "queries": 10, "gallery": 20, "size": 16},
    "train": {"epochs": 1, "batch_size": 8},
}
PLAIN: dict[str, Any] = {"base": BASE, "methods": ["naive"], "controls": [], "seeds": [0], "orders": 1}


def studies_of(out: Path, **changes: Any) -> Studies:
    return Studies(Layout(Sweep(**{**PLAIN, **changes})), out, open_storage(None, out))


@pytest.fixture
def ended(tmp_path: Path, result_of: Callable[..., dict[str, Any]]) -> Path:
    """A sweep of two seeds whose final runs are complete, as far as reuse looks at them."""
    studies = studies_of(tmp_path, seeds=[0, 1])
    for final in (final for finals in studies.finals() for final in finals):
        config = studies.layout.final_config(final).as_dict()
        write_json(tmp_path / final.folder / "result.json", result_of(config))
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base": {**BASE, "train": {"epochs": 3, "batch_size": 8}}}, "train.epochs is 1 there and 3 here"),
        ({"base": {**BASE, "train.lr": 1e-4}}, "train.lr is 0.001 there and 0.0001 here"),
        ({"base": {**BASE, "composer": "combiner"}}, "composer is sum there and combiner here"),
        ({"base": {**BASE, "scenario.domains": 3}}, "scenario.domains is 2 there and 3 here"),
        (
            {"orders": [["top-sketch", "dress-studio"]]},
            "scenario.order is null there and [top-sketch, dress-studio] here",
        ),
        ({"base": {**BASE, "features": "off", "train.clip": None}}, "and 2 more"),
    ],
)
def test_a_final_run_of_another_configuration_is_refused(
    ended: Path, changes: dict[str, Any], said: str
) -> None:
    check_reuse(studies_of(ended))
    if "more" in said:
        changes["base"] = {
            **changes["base"],
            "train.lr": 1.0,
            "train.warmup": 0.0,
            "data.views": 0,
            "train.workers": 1,
        }
    with pytest.raises(UserError) as told:
        check_reuse(studies_of(ended, **changes))
    text = str(told.value)
    assert said in text and f"{ended / 'naive-s0'} holds another experiment" in text and "--anew" in text
    assert "\n" not in text and len(text) < 400


def test_a_default_that_changed_since_is_shown_and_not_gone_on_from(ended: Path) -> None:
    """As of a sweep of an earlier release; the runs of a method have to agree."""
    for seed in (0, 1):
        path = ended / f"naive-s{seed}" / "result.json"
        held = read_json(path)
        other = {**held["config"], "train": {**held["config"]["train"], "lr": 0.5}}
        write_json(path, {**held, "config": other})
        for folder in ("naive-s0", "naive-s1"):
            values = {name: torch.zeros(10) for name in held["domains"]}
            save_tree(ended / folder / "values" / f"{len(held['domains'])}.safetensors", values)
        studies = studies_of(ended, seeds=[0, 1])
        outcome = collect(studies, "clplat sweep")
        gone = [failure["folder"] for failure in outcome["failures"]]
        assert gone == ([] if seed else ["naive-s1"]), "one of two replicates, then both"
        assert outcome["rows"][0]["n"] == 1 + seed
    with pytest.raises(UserError, match=r"naive-s0 holds another experiment \(train\.lr is 0\.5 there"):
        check_reuse(studies)
    named = studies_of(ended, seeds=[0, 1], base={**BASE, "train.lr": 0.001})
    assert len(collect(named, "clplat sweep")["failures"]) == 2, "what the sweep names is compared"


def test_another_machine_or_more_seeds_are_no_other_experiment(ended: Path) -> None:
    check_reuse(studies_of(ended, seeds=[0, 1, 2], methods=["naive", "ewc"]))
    check_reuse(studies_of(ended, base={**BASE, "device": "meta"}))


def test_what_is_begun_anew_moves_away(ended: Path, result_of: Callable[..., dict[str, Any]]) -> None:
    held = read_json(ended / "naive-s1" / "result.json")["config"]
    other = result_of({**held, "strategy": {"name": "ewc"}})
    write_json(ended / "naive-s1" / "result.json", other)
    said = check_reuse(studies_of(ended, seeds=[0, 1]), anew=True)
    assert len(said) == 1 and "naive-s1" in said[0] and "strategy is ewc there and naive here" in said[0]
    assert (ended / "naive-s0" / "result.json").exists() and not (ended / "naive-s1").exists()
    assert read_json(ended / "replaced" / "1" / "naive-s1" / "result.json") == other
    assert check_reuse(studies_of(ended, seeds=[0, 1]), anew=True) == []


def test_a_finished_study_with_another_search_is_refused(tmp_path: Path) -> None:
    tuned = {"budget": Budget(trials=1), "tune": ["train.lr"]}
    queue = Queue(Layout(Sweep(**{**PLAIN, **tuned})), tmp_path, open_storage(None, tmp_path))
    job = queue.claim()
    assert job is not None
    queue.failed(job, "enough")
    (tmp_path / job.folder).mkdir(parents=True)
    check_reuse(studies_of(tmp_path, **tuned))
    check_reuse(studies_of(tmp_path, **tuned, base={**BASE, "device": "meta"}))
    others: list[tuple[dict[str, Any], str]] = [
        ({"space": {"train.lr": [1e-3, 1e-4]}}, "another search space (train.lr is {low: 1e-05, high: 0.01"),
        ({"constraints": {"forgetting": 5}}, "other constraints (forgetting is null there and 5 here)"),
        ({"objectives": ["forgetting"]}, "other objectives ([final] there and [forgetting] here)"),
        ({"base": {**BASE, "train.epochs": 2}}, "another configuration (train.epochs is 1 there and 2 here)"),
    ]
    for changes, said in others:
        with pytest.raises(UserError) as told:
            check_reuse(studies_of(tmp_path, **{**tuned, **changes}))
        assert said in str(told.value) and "'naive'" in str(told.value) and "\n" not in str(told.value)
    changed = {**tuned, "constraints": {"forgetting": 5}}
    assert len(check_reuse(studies_of(tmp_path, **changed), anew=True)) == 1
    assert (tmp_path / "replaced" / "1" / "trials" / "naive" / "0").exists()
    again = Queue(Layout(Sweep(**{**PLAIN, **changed})), tmp_path, open_storage(None, tmp_path)).claim()
    assert again is not None and again.folder == "trials/naive/0"


def test_a_study_without_trials_is_free(tmp_path: Path) -> None:
    tuned = {"budget": Budget(trials=1), "tune": ["train.lr"]}
    check_reuse(studies_of(tmp_path, **tuned))
    check_reuse(studies_of(tmp_path, **tuned, objectives=["forgetting"], constraints={"forgetting": 5}))


def test_the_table_never_holds_another_configuration(
    small_backbone: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    result_of: Callable[..., dict[str, Any]],
    leave: Callable[..., None],
) -> None:
    """Through the doors: refused and untouched; begun anew where asked; a row of another run is no row."""
    out, backbone = tmp_path / "out", f"local-dir:{small_backbone}"
    sweep = Sweep(**{**PLAIN, "base": {**BASE, "backbone": backbone}})
    layout = Layout(sweep)
    final = layout.finals(layout.entries[0], "default", {})[0]
    leave(out / final.folder, result_of(layout.final_config(final).as_dict()))
    first = run_sweep(sweep, out)
    plan = (out / "sweep.yaml").read_bytes()
    words = "--strategies naive --seeds 0 --orders 1 --no-track --train.epochs 2 "
    words += "--train.batch_size 8 --scenario.domains 2 --scenario.train 16 --scenario.queries 10 "
    words += "--scenario.gallery 20 --scenario.size 16"
    call = ["sweep", *words.split(), "--controls", "", "--backbone", backbone, "--out", str(out)]
    assert main(call) == 2
    said = capsys.readouterr().err
    assert "train.epochs is 1 there and 2 here" in said and said.count("\n") == 1
    assert (out / "sweep.yaml").read_bytes() == plan and gather(out)["rows"] == first["rows"]
    assert main([*call, "--anew"]) == 0
    second = read_json(out / "sweep.json")
    assert [row["method"] for row in second["rows"]] == ["naive"] and second["failures"] == []
    assert read_json(out / "naive-s0" / "result.json")["config"]["train"]["epochs"] == 2
    assert read_json(out / "replaced/1/naive-s0/result.json")["config"]["train"]["epochs"] == 1

    plain = yaml.safe_load((out / "sweep.yaml").read_text())  # somebody writes in it
    plain["base"]["train"]["epochs"] = 3
    (out / "sweep.yaml").write_text(yaml.safe_dump(plain))
    third = gather(out)
    assert third["rows"] == [] and len(third["failures"]) == 1
    assert "train.epochs is 2 there and 3 here" in third["failures"][0]["why"]


def test_a_figure_of_what_no_run_measured_loses_nothing_else(
    tmp_path: Path, result_of: Callable[..., dict[str, Any]], leave: Callable[..., None]
) -> None:
    """R@50 is a metric, but the protocol of these runs has R@5 alone: that is known after the runs only."""
    sweep = Sweep(**PLAIN, figure={"kind": "bars", "y": ["R@50"]})
    layout = Layout(sweep)
    final = layout.finals(layout.entries[0], "default", {})[0]
    leave(tmp_path / final.folder, result_of(layout.final_config(final).as_dict()))
    outcome = run_sweep(sweep, tmp_path)
    assert [failure["label"] for failure in outcome["failures"]] == ["figure"] and outcome["figure"] is None
    assert "R@50" in outcome["failures"][0]["why"] and len(outcome["rows"]) == 1
    assert (tmp_path / "report.html").exists() and not (tmp_path / "figure.png").exists()
    assert read_json(tmp_path / "sweep.json") == outcome


# -- limits -------------------------------------------------------------------------------------------------


def test_an_undefined_measure_meets_no_limit(
    tmp_path: Path, result_of: Callable[..., dict[str, Any]], leave: Callable[..., None]
) -> None:
    """As the gain of an update is where there is none. In Optuna's issue 3746 it wins."""
    from clplat.tables.sweep import sweep_table

    tuned = {"budget": Budget(trials=2), "tune": ["train.lr"], "controls": ["frozen"]}
    sweep = Sweep(**{**PLAIN, **tuned, "constraints": {"update_gain": 5.0}})
    queue = Queue(Layout(sweep), tmp_path, open_storage(None, tmp_path))
    while (job := queue.claim()) is not None:
        held = result_of(job.config.as_dict())
        leave(tmp_path / job.folder, held)
        queue.complete(job, held)
    outcome = collect(queue.studies, "")
    assert outcome["studies"][0]["best"] is None
    assert [trial["constraints"] for trial in outcome["studies"][0]["trials"]] == [{"update_gain": None}] * 2
    assert {row["kind"] for row in outcome["rows"]} == {"default", "control"}
    assert [row["feasible"] for row in outcome["rows"]] == [False, False]
    head, body, _ = sweep_table(outcome)
    assert head[-1] == "fits" and [line[-1] for line in body] == ["undefined"] * 2


def test_the_score_itself_may_be_limited(tmp_path: Path) -> None:
    sweep = Sweep(constraints={"final": 50.0, "update_gain": 5.0, "forgetting": 2.0})
    excess = sweep.excess({"final": 60.0, "update_gain": None, "forgetting": 3.0})
    assert excess["final"] == -10.0 and excess["forgetting"] == 1.0 and 0 < excess["update_gain"] < 100
    assert sweep.excess({})["final"] > 0


# -- choices ------------------------------------------------------------------------------------------------


def test_choices_have_the_type_of_their_option() -> None:
    """yacs 46, at our doors: ``1e-3`` is a text in YAML 1.1."""
    for value in (yaml.safe_load("[1e-3, 1e-4]"), ["1e-3", 0.0001]):
        assert isinstance(value[0], str)
        layout = Layout(Sweep(**PLAIN, budget=Budget(trials=2), tune=[], space={"train.lr": value}))
        assert layout.studies[0].space["train.lr"].values == (0.001, 0.0001)  # type: ignore[union-attr]
    assert layout.studies[0].default == {"train.lr": 0.001}


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"train.lr": ["fast", 1.0]}, "the search space of 'train.lr' takes a number, not 'fast'"),
        ({"train.epochs": [1, 2.5]}, "the search space of 'train.epochs' takes a whole number, not 2.5"),
        (
            {"train.epochs": {"low": 0.5, "high": 2}},
            "the search space of 'train.epochs' takes a whole number",
        ),
        ({"train.optimizer": ["adam", "adm"]}, "the search space of 'train.optimizer' takes one of adamw"),
        ({"train.optimizer": {"low": 1, "high": 2}}, "the search space of 'train.optimizer' takes one of"),
        ({"train.lr": [-1.0, 1.0]}, "the search space of 'train.lr': train: lr must be above 0, not -1.0"),
        ({"train.epochs": {"low": 0, "high": 3}}, "epochs must be at least 1, not 0"),
    ],
)
def test_a_space_that_its_option_does_not_take_is_refused_before_anything_runs(
    space: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as told:
        Layout(read_sweep({**PLAIN, "budget": {"trials": 2}, "tune": [], "space": space}))
    assert said in str(told.value) and "\n" not in str(told.value)
