"""Every document that is read back is checked when it is read: one line says where and what is allowed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clplat.documents.checked import checked
from clplat.documents.outcome import read_outcome
from clplat.documents.result import read_result
from clplat.errors import UserError
from clplat.evaluation.lists import load_lists
from clplat.runs.checkpoint import load_version
from clplat.testing.tiny import tiny_retriever
from clplat.tracking.log_state import locked_state
from clplat.training.learner import Learner
from clplat.training.strategy import Strategy
from clplat.trees import save_tree

RELEASE = Path(__file__).parents[1] / "fixtures" / "release_0_1_0"
Change = Callable[[dict[str, Any]], object]


def complaint(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    said = str(caught.value)
    assert "\n" not in said and str(path.name) in said
    return said


def test_results_and_outcomes_of_the_first_release_are_read() -> None:
    results = sorted(RELEASE.rglob("result.json"))
    assert len(results) > 10
    for path in results:
        assert read_result(path) == json.loads(path.read_text())
    assert read_outcome(RELEASE / "sweep") == json.loads((RELEASE / "sweep" / "sweep.json").read_text())


RESULT: dict[str, tuple[Change, str]] = {
    "a key is gone": (lambda r: r.pop("domains"), "it lacks 'domains'"),
    "a text for a number": (lambda r: r["metrics"]["R@5"][1].__setitem__(0, "x"),
    "'metrics.R@5.1.0' should be a valid number"),
    "not a number": (lambda r: r["metrics"]["R@5"][1].__setitem__(0, float("nan")),
    "'metrics.R@5.1.0' should be a finite"),
    "null for a list": (lambda r: r.update(scores=None), "'scores' should be a valid list, not None"),
    "another status": (lambda r: r.update(status="done"),
    "'status' should be 'running', 'complete', 'failed' or 'pruned'"),
    "a row too many": (lambda r: r["metrics"]["R@5"].append(r["metrics"]["R@5"][0]),
    "'metrics.R@5' has 4 rows, 'scores' 3"),
    "a domain too many": (lambda r: r["domains"].append("x"), "'scores' has 3 rows for 3 domains"),
    "a row that is short": (lambda r: r["metrics"]["R@5"][0].pop(),
    "a row that is not as long as 'domains'"),
    "no primary metric": (lambda r: r["protocol"].update(primary="R@7"), "'metrics' has no 'R@7'"),
    "a schema to come": (lambda r: r.update(schema=9),
    "has schema 9; this version of clplat reads 1 and 2"),
    "true for a number": (lambda r: r["measured"].update(train_seconds=True), "'measured.train_seconds'"),
}  # fmt: skip


@pytest.mark.parametrize("what", RESULT)
def test_a_result_that_is_none_is_one_line(what: str, tmp_path: Path) -> None:
    change, expected = RESULT[what]
    result = json.loads((RELEASE / "runs" / "ewc" / "result.json").read_text())
    change(result)
    (tmp_path / "result.json").write_text(json.dumps(result))
    assert expected in complaint(read_result, tmp_path / "result.json")


@pytest.mark.parametrize("content", ["", "[]", "5", "null", "{", "[" * 100_000, '"x"', '{"schema": true}'])
def test_what_is_no_result_at_all_is_one_line(content: str, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(content)
    complaint(read_result, tmp_path / "result.json")
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=r"sweep\.json"):
        read_outcome(tmp_path)


def test_an_outcome_that_is_none_is_one_line(tmp_path: Path) -> None:
    whole = json.loads((RELEASE / "sweep" / "sweep.json").read_text())
    changes: dict[str, Change] = {
        "'rows.0.score.mean'": lambda o: o["rows"][0]["score"].update(mean="x"),
        "it lacks 'rows.0.folders'": lambda o: o["rows"][0].pop("folders"),
        "'studies.0.trials' should be a valid list": lambda o: o["studies"][0].update(trials=5),
        "has schema 2": lambda o: o.update(schema=2),
    }
    for expected, change in changes.items():
        outcome = copy.deepcopy(whole)
        change(outcome)
        (tmp_path / "sweep.json").write_text(json.dumps(outcome))
        with pytest.raises(UserError) as caught:
            read_outcome(tmp_path)
        assert expected in str(caught.value)


@pytest.mark.parametrize(
    "held", [{"rows_logged": "x"}, {"clock": 5}, {"models": []}, [], {"unknown": 1}, {"run_id": 5}]
)
def test_a_record_of_tracking_that_is_none_is_one_line(held: Any, tmp_path: Path) -> None:
    (tmp_path / "tracking.json").write_text(json.dumps(held))
    with pytest.raises(UserError, match=r"tracking\.json"), locked_state(tmp_path):
        pass


@pytest.mark.parametrize(
    "tree",
    [
        {"weights": {}},
        {"weights": {"x": 5}, "strategy": None},
        {"weights": {"composer.nothing": torch.ones(2)}, "strategy": None},
        {"weights": {}, "strategy": {"a": 1}},
        [1, 2],
        5,
    ],
)
def test_a_version_that_does_not_fit_is_one_line(tree: Any, tmp_path: Path) -> None:
    save_tree(tmp_path / "1.safetensors", tree)
    retriever = tiny_retriever()
    learner = Learner(retriever, torch.optim.SGD(retriever.parameters(), lr=0.0))

    class Keeps(Strategy):
        state = ("memory",)

    complaint(lambda path: load_version(path, Keeps(), learner), tmp_path / "1.safetensors")


@pytest.mark.parametrize("tree", [{}, {"test": 5}, {"test": {"d": {"rows": 1}}}, []])
def test_lists_that_are_none_are_one_line(tree: Any, tmp_path: Path) -> None:
    save_tree(tmp_path / "1.safetensors", tree)
    if tree != {}:
        complaint(load_lists, tmp_path / "1.safetensors")


def test_what_fits_is_handed_back_as_it_is() -> None:
    content = {"a": [1, 2.5, None], "b": {"c": "x"}}
    assert checked(content, dict[str, Any], Path("x.json"), "anything") is content
