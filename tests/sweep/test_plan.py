"""The description of a sweep: what may be said, what is laid out from it, and how mistakes are told."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clplat.cli import main
from clplat.config.space import Choice, Float, Int
from clplat.errors import UserError
from clplat.measures import MEASURES
from clplat.sweep import DEFAULT_STRATEGIES, Budget, Sweep, read_sweep
from clplat.sweep.figure import FIGURES
from clplat.sweep.layout import Layout, permuted, slug
from clplat.sweep.outcome import _chosen_on_reported
from clplat.tuning.samplers import SAMPLERS, check_sampler, make_pruner, make_sampler
from clplat.tuning.spaces import contains, read_space, write_space

BASE = {"scenario": {"name": "catalogue", "domains": 3, "train": 16, "queries": 10, "gallery": 20}}


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"metods": ["naive"]}, "did you mean 'methods'"),
        ({"methods": []}, "at least one entry in 'methods'"),
        ({"methods": [{"size": 3}]}, "has the key 'name'"),
        ({"seeds": []}, "at least one entry in 'seeds'"),
        ({"seeds": [0, 0]}, "'seeds' of a sweep names '0' more than once"),
        ({"seeds": "many"}, "takes a list of whole numbers"),
        ({"orders": 9}, "orders must be 1 to 3"),
        ({"budget": {"trails": 3}}, "did you mean 'trials'"),
        ({"budget": {"trials": 0}}, "the budget's trials must be above 0"),
        ({"budget": 3}, "a budget is written {trials: 20}"),
        ({"objectives": ["fnal"]}, "did you mean 'final'"),
        ({"constraints": {"forgeting": 3}}, "did you mean 'forgetting'"),
        ({"constraints": {"forgetting": "low"}}, "'constraints' in the sweep"),
        ({"sampler": "tpa"}, "did you mean 'tpe'"),
        ({"pruner": "halfing"}, "did you mean 'halving'"),
        ({"space": {"train.lr": 3}}, "is written [a, b, ...] or {low"),
        ({"space": {"train.lr": {"low": 3, "high": 1}}}, "needs low < high"),
        ({"space": {"train.lr": {"low": 0, "high": 1, "log": True}}}, "low above 0"),
        ({"base": [1]}, "'base' of a sweep takes a mapping, not [1]"),
        ({"space": 3}, "'space' of a sweep takes a mapping, not 3"),
        ({"groups": {"a": 3}}, "'a' in 'groups' of a sweep takes a configuration"),
        ({"groups": [1]}, "'groups' of a sweep takes a mapping of labels to configurations, not [1]"),
        ({"methods": {"replay": None}}, "'replay' in 'methods' of a sweep takes a configuration"),
        ({"methods": "naive"}, "'methods' of a sweep takes a list of strategies, or a mapping"),
        ({"methods": [3]}, "a method is the name of a strategy or has the key 'name' with one, not 3"),
        ({"methods": [{"name": ["naive"]}]}, "has the key 'name' with one"),
        ({"methods": [[["naive"]]]}, "has the key 'name' with one"),
        ({"figure": "bars"}, "'figure' of a sweep takes a mapping, {kind: bars, y: final} say"),
        ({"figure": {"y": "final"}}, "unknown kind of figure 'None'"),
        ({"figure": {"kind": ["bars"]}}, "unknown kind of figure"),
        ({"figure": {"kind": "bar"}}, "did you mean 'bars'"),
        ({"figure": {"kind": "bars", "y": "fnal"}}, "measure in the figure's y 'fnal'; did you mean 'final'"),
        ({"figure": {"kind": "bars", "y": 3}}, "the figure's y takes names of measures, not 3"),
        ({"figure": {"kind": "bars", "y": []}}, "the figure's y takes one measure at least"),
        ({"figure": {"kind": "bars", "z": "final"}}, "unknown key of a figure of kind 'bars' 'z'"),
        ({"figure": {"kind": "scatter", "x": ["final", "bwt"]}}, "the figure's x takes one measure, not"),
        ({"figure": {"kind": "curve", "x": 3}}, "the figure's x is a dotted option such as"),
        ({"figure": {"kind": "curve", "x": "train.lr", "log": "yes"}}, "the figure's log is true or false"),
        ({"figure": {"kind": "heatmap", "title": 3}}, "the figure's title is a text, not 3"),
    ],
)
def test_mistakes_in_a_description(given: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError) as told:
        read_sweep(given)
    assert part in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"methods": ["naive", "repaly"]}, "did you mean 'replay'"),
        ({"methods": {"a": {"adapter": "loraa"}}}, "did you mean 'lora'"),
        ({"methods": {"a b": {}, "a-b": {}}}, "the same folder name 'a-b'"),
        (
            {"tune": ["adapter.rr"], "budget": Budget(trials=2)},
            "'adapter.rr' has no search space in any method",
        ),
        ({"space": {"train.rl": [1, 2]}, "budget": Budget(trials=2)}, "did you mean 'train.lr'"),
        ({"controls": ["frzen"]}, "did you mean 'frozen'"),
        ({"figure": {"kind": "curve", "x": "strategy.sise"}}, "did you mean 'strategy.size'"),
        ({"methods": {"..": {}}}, "'..' cannot be the name of a folder"),
        ({"methods": {"a" * 300: {}}}, "is too long for the name of a folder"),
        ({"methods": {"//": {}}}, "'//' cannot be the name of a folder"),
    ],
)
def test_mistakes_in_a_layout(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(UserError) as told:
        Layout(Sweep(base=BASE, **changes))
    assert part in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"orders": [["a", "b"], ["b"]]}, "name the same domains, once each; not so: a"),
        ({"orders": [["a", "b"], ["a", "b", "b"]]}, "name the same domains, once each; not so: a, b, b"),
        ({"orders": [["dress-studio", "shoes"]]}, "unknown domain 'shoes'"),
        ({"orders": [["dress-studio", "top-sketch"]]}, "shoe-textured is missing"),
    ],
)
def test_orders_that_are_none_are_told_before_anything_runs(changes: dict[str, Any], part: str) -> None:
    layout = Layout(Sweep(base=BASE, methods=["naive"], controls=[], **changes))
    with pytest.raises(UserError, match=part):
        layout.check_orders()


def test_figures_are_those_that_can_be_drawn() -> None:
    from clplat.report.figure.draw import _KINDS

    assert FIGURES.keys() == _KINDS.keys()


@pytest.mark.parametrize(
    ("sampler", "objectives", "said"),
    [
        ("cmaes", 2, "cmaes"),
        ("fractions:Fraction", 1, "is no sampler"),
        ("tpe", 2, ""),
        ("random", 1, ""),
    ],
)
def test_a_sampler_draws_once_before_anything_runs(sampler: str, objectives: int, said: str) -> None:
    spaces = [{"train.lr": Float(1e-5, 1e-2, log=True), "x": Choice("a", "b"), "y": Int(1, 3)}]
    if not said:
        check_sampler(make_sampler(sampler, 0, 0), sampler, objectives, spaces)
        return
    with pytest.raises(UserError, match=said):
        check_sampler(make_sampler(sampler, 0, 0), sampler, objectives, spaces)


def test_nothing_is_forked_without_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("sweep", "demo"):
        assert main([command, "--workers", "999999", "--out", str(tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert "--workers takes 1 to" in said and "on this machine" in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--trials 2 --space train.lr=[1,2] --space train.lr=[3]", "--space is given twice for 'train.lr'"),
        ("--trials 2 --constraint bwt>=1 --constraint bwt>=2", "--constraint is given twice for 'bwt'"),
        ("--seconds nan", "option --seconds: takes a number above 0, not 'nan'"),
        ("--tflops inf", "option --tflops: takes a number above 0, not 'inf'"),
    ],
)
def test_flags_that_cannot_be(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", *words.split(), "--out", "/nonexistent/out"]) == 2
    assert said in capsys.readouterr().err


def test_a_plan_whose_keys_are_empty_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text("base:\ngroups:\nspace:\nname: x\n")
    assert read_sweep(path).as_dict() == Sweep(name="x").as_dict()
    path.write_text("base: {train: {lr: 1}, train.lr: 2}\n")
    with pytest.raises(UserError, match=r"plan\.yaml: 'train\.lr' is given twice: 1 and 2"):
        read_sweep(path)


def test_a_sweep_comes_back_from_yaml_as_it_was(tmp_path: Path) -> None:
    made = Sweep(
        name="all of it",
        question="Why?",
        base={"adapter": {"name": "lora", "r": 4}},
        methods={"small": {"strategy": {"name": "replay", "size": 5}}, "none": {"strategy": "naive"}},
        groups={"short": {"scenario.domains": 2}, "long": {"scenario.domains": 3}},
        controls=["frozen"],
        tune=["strategy"],
        space={"train.lr": Float(1e-5, 1e-2, log=True), "adapter.r": [2, 4]},
        seeds=[3, 4],
        orders=2,
        budget=Budget(trials=3, tflops=1.5),
        objectives=["final", "forgetting"],
        constraints={"zero_shot": 80.0},
        sampler="random",
        pruner="none",
        figure={"kind": "bars", "y": ["final"]},
    )
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump(made.as_dict()))
    assert read_sweep(path).as_dict() == made.as_dict() == read_sweep(made.as_dict()).as_dict()
    assert read_sweep(path).space["train.lr"] == {"low": 1e-5, "high": 1e-2, "log": True}


def test_strategies_that_run_together_are_one_method() -> None:
    made = Sweep(methods=["ewc", "replay", "ewc+replay"], seeds=(0,), budget=Budget(trials=2))
    layout = Layout(made)
    together = next(entry for entry in layout.entries if entry.method == "ewc+replay")
    assert together.config.name("strategy") == "ewc,replay" and "," not in together.key
    assert {"strategy.ewc.lam", "strategy.replay.size"} <= together.space.keys()
    config = layout.trial_config(together, {"strategy.ewc.lam": 3.0})
    assert config.option("strategy.ewc.lam") == 3.0 and config.option("strategy.replay.size") == 200


def test_the_older_name_of_tune_is_read() -> None:
    assert read_sweep({"search": ["train.lr"]}).tune == ["train.lr"]


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the sweep"):
        read_sweep(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UserError, match="is not valid YAML"):
        read_sweep(tmp_path / "bad.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(UserError, match="is list, not a mapping"):
        read_sweep(tmp_path / "list.yaml")


def test_the_default_is_an_honest_comparison() -> None:
    layout = Layout(Sweep(base=BASE))
    entries = {entry.method: entry for entry in layout.entries}
    assert set(entries) == set(DEFAULT_STRATEGIES)
    assert [name for name, entry in entries.items() if entry.control] == ["cumulative", "frozen"]
    replicates = list(layout.finals(entries["replay"], "default", {}))
    assert [(f.seed, f.order) for f in replicates] == [(0, 0), (1, 1), (2, 2)]
    streams = [layout.final_config(f).option("scenario.order") for f in replicates]
    assert streams[0] is None and sorted(streams[1]) == sorted(streams[2]) and streams[1] != streams[2]
    assert not layout.studies


@pytest.mark.parametrize(("split", "said"), [("val", 1), ("test", 0)])
def test_tuning_on_what_is_reported_is_said_in_a_line(split: str, said: int) -> None:
    base, budget = {**BASE, "evaluation": {"split": split}}, Budget(trials=2)
    found = _chosen_on_reported(Layout(Sweep(base=base, methods=["ewc"], controls=[], budget=budget)))
    assert len(found) == said and all("the split that is reported (val)" in line for line in found)
    assert not _chosen_on_reported(Layout(Sweep(base=base, methods=["ewc"], controls=[])))


def test_every_method_of_a_group_sees_the_same_streams() -> None:
    layout = Layout(
        Sweep(base=BASE, methods=["naive", "ewc"], groups={"2": {"scenario.domains": 2}, "3": {}})
    )
    for group in ("2", "3"):
        entries = [entry for entry in layout.entries if entry.group == group]
        streams = [
            [layout.final_config(f).parts["scenario"] for f in layout.finals(entry, "default", {})]
            for entry in entries
        ]
        assert len(entries) == 4 and all(stream == streams[0] for stream in streams)
    folders = [f.folder for e in layout.entries for f in layout.finals(e, "default", {})]
    assert len(folders) == len(set(folders)) == 24


def test_tuning_sees_validation_only_and_the_controls_none_of_it() -> None:
    sweep = Sweep(
        base={**BASE, "strategy": {"size": 7}},
        methods=["replay"],
        tune=["strategy", "train.lr"],
        space={"train.lr": {"low": 1e-4, "high": 1e-3, "log": True}},
        budget=Budget(trials=2),
        seeds=[5, 6],
    )
    layout = Layout(sweep)
    assert [entry.method for entry in layout.studies] == ["replay"]
    entry = layout.studies[0]
    assert set(entry.space) == {"strategy.size", "strategy.weight", "strategy.policy", "train.lr"}
    assert entry.space["train.lr"] == Float(1e-4, 1e-3, log=True)
    assert entry.default["strategy.size"] == 7
    trial = layout.trial_config(entry, {"strategy.size": 9})
    assert trial.evaluation.split == "val" and trial.seed == 5 and trial.option("strategy.size") == 9
    final = next(iter(layout.finals(entry, "tuned", {"strategy.size": 9})))
    assert layout.final_config(final).evaluation.split == "test" and final.folder == "replay-tuned-s5"


def test_a_chosen_order_stays() -> None:
    order = ["shoe-textured", "dress-studio", "top-sketch"]
    layout = Layout(Sweep(base={"scenario": {**BASE["scenario"], "order": order}}, methods=["naive"]))
    finals = list(layout.finals(layout.entries[0], "default", {}))
    assert all(layout.final_config(final).option("scenario.order") == order for final in finals)


@given(st.lists(st.text("abcdefgh", min_size=1), min_size=1, max_size=6, unique=True), st.integers(1, 4))
def test_orders_are_permutations_that_do_not_change(names: list[str], count: int) -> None:
    orders = permuted(names, count)
    assert orders[0] is None and len(orders) == count
    assert all(sorted(order or []) == sorted(names) for order in orders[1:])
    assert orders == permuted(names, count)[:count] == permuted(names, count + 1)[:count]


def test_folder_names() -> None:
    assert slug("3 domains", "lora r=4 / last 1") == "3-domains-lora-r-4-last-1"


@pytest.mark.parametrize(
    ("written", "space"),
    [
        ([1, 2, "x"], Choice(1, 2, "x")),
        ({"low": 1, "high": 8}, Int(1, 8)),
        ({"low": 0.5, "high": 2}, Float(0.5, 2.0)),
        ({"low": "1e-5", "high": "1e-2", "log": "true"}, Float(1e-5, 1e-2, log=True)),
    ],
)
def test_search_spaces_as_written(written: Any, space: Any) -> None:
    assert read_space("x", written) == space == read_space("x", space) == read_space("x", write_space(space))
    ends = space.values if isinstance(space, Choice) else (space.low, space.high)
    assert all(contains(space, end) for end in ends) and not contains(space, 99)


def test_samplers_and_pruners_by_name() -> None:
    import optuna

    for name in SAMPLERS:
        if name == "cmaes" and find_spec("cmaes") is None:
            with pytest.raises(UserError, match=r"needs the package cmaes: pip install 'clplat\[cmaes\]'"):
                make_sampler(name, 0, 0)
            continue
        study = optuna.create_study(sampler=make_sampler(name, 0, 0))
        trial = study.ask()
        assert 0 <= trial.suggest_float("x", 0, 1) <= 1
    drawn = [
        optuna.create_study(sampler=make_sampler("tpe", 0, n)).ask().suggest_float("x", 0, 1)
        for n in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    assert isinstance(make_sampler("optuna.samplers:RandomSampler", 0, 0), optuna.samplers.RandomSampler)
    with pytest.raises(UserError, match="cannot load the sampler"):
        make_sampler("optuna.samplers:None_such", 0, 0)
    assert isinstance(make_pruner("halving", 3), optuna.pruners.NopPruner)
    assert isinstance(make_pruner("halving", 4), optuna.pruners.SuccessiveHalvingPruner)
    assert isinstance(make_pruner("none", 9), optuna.pruners.NopPruner)


def test_measures_of_a_result() -> None:
    held = {
        "domains": ["a", "b", "c"],
        "protocol": {"primary": "R@5"},
        "metrics": {"R@5": [[1.0, 1.0, 1.0], [9.0, 1.0, 1.0], [6.0, 8.0, 1.0], [5.0, 7.0, 9.0]]},
        "scores": [{"bwt": None}, {"bwt": None}, {"bwt": -3.0}, {"bwt": -2.5, "forgetting_max": 2.5}],
        "cost": {"training_flops": 7},
        "measured": {"train_seconds": 1.5, "evaluation_seconds": 0.5},
    }
    values = {name: entry.value(held) for name, entry in MEASURES.items()}
    assert values["final"] == 7.0 and values["stability"] == 6.0 and values["forgetting"] == 2.5
    assert values["bwt"] == -2.5 and values["seconds"] == 2.0 and values["training_flops"] == 7
    assert values["plasticity"] is None and values["backfill"] is None
    running = {**held, "metrics": {"R@5": held["metrics"]["R@5"][:1]}, "scores": [{}]}
    assert MEASURES["stability"].value(running) is None and MEASURES["final"].value(running) == 1.0
