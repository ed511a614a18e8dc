"""A champion is above the untrained and the present model by more than chance, or there is none, and why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clplat.files import write_json
from clplat.tracking.champion import contender, why_not
from clplat.trees import save_tree

RESULT = Path(__file__).parents[1] / "fixtures" / "release_0_1_0" / "runs" / "ewc" / "result.json"


def folder(root: Path, name: str, hits: float, queries: str = "test split") -> str:
    luck = np.random.default_rng(0).random(400)
    values = torch.from_numpy((luck < hits).astype("float32"))
    result = json.loads(RESULT.read_text())
    result["fingerprints"]["queries"] = queries
    save_tree(root / name / "values" / f"{len(result['scores']) - 1}.safetensors", {"a": values})
    write_json(root / name / "result.json", result)
    return name


def outcome(root: Path, *, p: float = 0.001, control: str = "default") -> dict[str, Any]:
    row = {"group": "", "label": "replay", "kind": control, "feasible": None, "score": {"mean": 60.0}}
    row["folders"] = [folder(root, "replay-s0", 0.6), "replay-s1"]
    start = {"family": "untrained", "a": "replay", "b": "the untrained model", "p_holm": p, "real": p < 0.05}
    return {"rows": [row], "comparisons": [start]}


def test_what_is_not_above_the_untrained_model_is_no_champion(tmp_path: Path) -> None:
    assert why_not(outcome(tmp_path), tmp_path, None) == ""
    tie = outcome(tmp_path, p=0.3)
    assert why_not(tie, tmp_path, None) == "replay is not significantly above the untrained model"
    below = outcome(tmp_path)
    below["comparisons"][0] |= {"a": "the untrained model", "b": "replay"}
    assert "not significantly above the untrained model" in why_not(below, tmp_path, None)


@pytest.mark.parametrize(
    "hits, why", [(0.4, ""), (0.59, "not significantly above the present"), (0.7, "not")]
)
def test_another_sweeps_champion_is_beaten_on_the_same_queries(tmp_path: Path, hits: float, why: str) -> None:
    present = tmp_path / folder(tmp_path, "before", hits)
    said = why_not(outcome(tmp_path), tmp_path, str(present))
    assert (why in said) if why else said == ""


def test_other_queries_say_nothing(tmp_path: Path) -> None:
    present = tmp_path / folder(tmp_path, "before", 0.1, "others")
    assert "did not answer the same queries" in why_not(outcome(tmp_path), tmp_path, str(present))
    assert "did not answer" in why_not(outcome(tmp_path), tmp_path, str(tmp_path / "gone"))


def test_the_present_champion_of_the_same_sweep_is_compared_by_method(tmp_path: Path) -> None:
    held = outcome(tmp_path)
    held["rows"].append({**held["rows"][0], "label": "ewc", "folders": ["ewc-s0"], "score": {"mean": 50.0}})
    pair = {"family": "contenders", "a": "replay", "b": "ewc", "p_holm": 0.2}
    held["comparisons"].append(pair)
    present = str(tmp_path / "ewc-s0")
    assert why_not(held, tmp_path, present) == "replay is not significantly above the present champion, ewc"
    pair["p_holm"] = 0.01
    assert why_not(held, tmp_path, present) == ""
    assert why_not(held, tmp_path, str(tmp_path / "replay-s0")) == "", "it is the champion already"


def test_controls_are_no_contenders(tmp_path: Path) -> None:
    assert contender(outcome(tmp_path, control="control")) is None
