"""docs/result.md against a real result: no key without a line, no line without a key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from clplat.config.raw import merge
from clplat.errors import UserError
from clplat.files import read_json
from clplat.runs.experiment import run

PAGE = (Path(__file__).parents[2] / "docs" / "result.md").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documented-run") / "run"


@pytest.fixture(scope="session")
def result(run_folder: Path, small_backbone: Path) -> dict[str, Any]:
    sizes = {"domains": 2, "train": 32, "queries": 20, "gallery": 20, "size": 16}
    config = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {"name": "catalogue", **sizes},
        "projection": "procrustes",
        "strategy": "ewc",
        "train": {"epochs": 1, "batch_size": 16},
    }
    return run(config, run_folder)


def section(title: str) -> str:
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/result.md has no section '{title}'"
    return found.group(1)


def first_column(text: str) -> set[str]:
    return set(re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE))


def named_after(word: str) -> set[str]:
    """The names in backquotes of the paragraph that begins with ``**word**``."""
    found = re.search(rf"^\*\*{word}\*\*(.*?)\n\n", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"docs/result.md says nothing about {word}"
    return set(re.findall(r"`([a-z_]+)`", found.group(1)))


def test_every_key_of_a_result_is_documented_and_the_other_way_round(result: dict[str, Any]) -> None:
    assert first_column(section("Keys")) == set(result)


def test_every_score_is_documented_and_the_other_way_round(result: dict[str, Any]) -> None:
    assert first_column(section("Scores")) == set(result["scores"][-1])


@pytest.mark.parametrize("key", ["protocol", "cost"])
def test_every_entry_is_documented(key: str, result: dict[str, Any]) -> None:
    assert set(result[key]) <= named_after(key)


def test_measured_fingerprints_and_data_are_spelled_out(result: dict[str, Any]) -> None:
    line = {key: text for key, text in re.findall(r"^\| `([a-z]+)` \| \w+ \| (.*) \|$", PAGE, re.MULTILINE)}
    for key in ("measured", "fingerprints", "data"):
        for name in result[key]:
            assert f"`{name}`" in line[key], f"{key}.{name}"


def test_a_failure_is_documented(run_folder: Path, result: dict[str, Any], tmp_path: Path) -> None:
    huge = merge(result["config"], {"train": {"lr": 1e30, "clip": None, "optimizer": "sgd"}})
    with pytest.raises(UserError, match="finite"):
        run(huge, tmp_path / "run")
    failed = read_json(tmp_path / "run" / "result.json")
    assert failed["status"] == "failed"
    assert set(failed["failure"]) == named_after("failure")
    assert set(failed) == set(result)


def test_conventions(result: dict[str, Any]) -> None:
    rows, cells = result["metrics"]["R@5"], result["compatibility"]["R@5"]
    assert [len(row) for row in rows] == [2, 2, 2]
    assert [[cell is None for cell in row] for row in cells] == [
        [False, True, True],
        [False, False, True],
        [False, False, False],
    ]
    # C's diagonal is the mean of R's row; the last row of scores is that of the whole stream.
    for i, row in enumerate(rows):
        assert cells[i][i] == pytest.approx(sum(row) / len(row), abs=1e-5)
    assert result["scores"][-1]["acc_last"] == pytest.approx(sum(rows[-1]) / 2, abs=1e-5)
    assert result["training"]["step"][-1] == result["cost"]["optimizer_steps"] == 4


def test_every_file_of_the_folder_is_documented(run_folder: Path, result: dict[str, Any]) -> None:
    documented = first_column(section("The folder of a run"))
    found = {path.relative_to(run_folder).as_posix() for path in run_folder.rglob("*") if path.is_file()}
    plain = {re.sub(r"(?<=[/_])\d+-to-\d+(?=\.)", "<i>-to-<j>", name) for name in found}
    plain = {re.sub(r"(?<=[/_])\d+(?=\.)", "<i>", name) for name in plain}
    assert plain <= documented
    assert documented - plain == {"checkpoint.safetensors", "tracking.json"}
