"""results/, docs/findings.md and the table in README.md say the same, and of the scripts as they stand."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from clplat.config.raw import read_config
from clplat.errors import UserError
from clplat.files import read_json, write_json, write_text
from clplat.sweep import Sweep, read_sweep
from clplat.sweep.run import run_sweep
from sweeps.publish import PAGE, README, ROOT, described, findings, read_ledger, readme, record, scripts

LEDGER = read_ledger()
AGAIN = "run `python -m sweeps.publish pages`"

pytestmark = pytest.mark.usefixtures("one_thread")


# -- what is committed ------------------------------------------------------------------------


def test_findings_are_what_the_ledger_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == findings(LEDGER), AGAIN


def test_the_readme_has_the_demo_of_the_ledger() -> None:
    text = README.read_text(encoding="utf-8")
    assert text == readme(text, LEDGER), AGAIN


def test_every_script_has_an_entry_of_what_it_describes_now() -> None:
    assert set(LEDGER) == {*scripts(), "demo"}
    for script, entry in LEDGER.items():
        name, now = described(entry["description"])
        assert name == script
        assert json.loads(json.dumps(read_sweep(entry["description"]).as_dict())) == now, (
            f"{script} changed: run it and `python -m sweeps.publish record OUT`"
        )


@pytest.mark.parametrize("script", LEDGER)
def test_an_entry_is_whole(script: str) -> None:
    entry = LEDGER[script]
    sweep = scripts().get(script)
    methods = {row["method"] for row in entry["rows"]}
    if sweep is not None:
        assert methods == {*sweep.entries(), *sweep.controls}
        assert {row["n"] for row in entry["rows"]} == {len(sweep.seeds)}
    assert entry["command"] and entry["sentence"] and entry["seconds"] > 0
    assert entry["code"] and all(len(code) == 64 for code in entry["code"])
    assert entry["date"].startswith("20") and "torch" in entry["versions"]
    assert not any("folders" in row for row in entry["rows"])


@pytest.mark.parametrize("script", [name for name in LEDGER if LEDGER[name]["figure"]])
def test_figures_are_small_and_those_of_the_entry(script: str) -> None:
    figure = LEDGER[script]["figure"]
    data = (ROOT / "docs" / "images" / figure["file"]).read_bytes()
    assert data.startswith(b"\x89PNG") and len(data) < 60_000
    assert hashlib.sha256(data).hexdigest() == figure["sha256"]


@pytest.mark.parametrize("script", LEDGER)
def test_numbers_are_sane(script: str) -> None:
    """What would make a reader distrust all: bounds that do not bound, training that teaches nothing."""
    rows = LEDGER[script]["rows"]
    for group in {row["group"] for row in rows}:
        means = {row["label"]: row["score"]["mean"] for row in rows if row["group"] == group}
        spread = max(row["score"]["sd"] or 3.0 for row in rows if row["group"] == group)
        if "cumulative" in means:
            assert max(means.values()) <= means["cumulative"] + 2 * spread
        if "frozen" in means:
            assert means["frozen"] < max(means.values())


# -- pages ------------------------------------------------------------------------------------


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "results", tmp_path / "results")
    assert findings(read_ledger(tmp_path)) == PAGE.read_text(encoding="utf-8")
    path = tmp_path / "results" / "demo.json"
    entry = read_json(path)
    entry["rows"][0]["score"]["mean"] += 0.1
    write_json(path, entry)
    changed = read_ledger(tmp_path)
    assert findings(changed) != PAGE.read_text(encoding="utf-8")
    text = README.read_text(encoding="utf-8")
    assert readme(text, changed) != text
    # Nothing outside of the marks moves.
    assert readme(readme(text, changed), LEDGER) == text


# -- record -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(small_backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny sweep that calls itself memory size."""
    out = tmp_path_factory.mktemp("ledger") / "out"
    base = {
        "backbone": f"local-dir:{small_backbone}",
        "scenario": {
            "name": "catalogue",
            "domains": 2,
            "train": 16,
            "queries": 20,
            "gallery": 20,
            "size": 16,
        },
        "train": {"epochs": 1, "batch_size": 8},
    }
    sweep = Sweep(
        name="memory size",
        base=base,
        methods=["naive"],
        controls=["frozen"],
        seeds=[0],
        orders=1,
        figure={"kind": "bars", "y": ["final"]},
    )
    run_sweep(sweep, out, command="a test")
    return out


@pytest.fixture
def mine(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, and a script that describes exactly this."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    plan: dict[str, Any] = yaml.safe_load((out / "sweep.yaml").read_text(encoding="utf-8"))
    monkeypatch.setattr(
        "sweeps.publish.scripts", lambda: {"memory_size": Sweep(**{**plan, "budget": Sweep().budget})}
    )
    return out


def test_record_writes_an_entry_and_a_small_figure(mine: Path, tmp_path: Path) -> None:
    path = record(mine, tmp_path)
    outcome, entry = read_json(mine / "sweep.json"), read_json(path)
    assert path == tmp_path / "results" / "memory_size.json"
    assert [row["score"] for row in entry["rows"]] == [row["score"] for row in outcome["rows"]]
    assert entry["seconds"] == round(sum(row["measures"]["seconds"]["mean"] for row in outcome["rows"]))
    picture = tmp_path / "docs" / "images" / "sweep-memory-size.png"
    assert picture.stat().st_size < 60_000
    page = findings({"memory_size": entry})
    assert f"{outcome['rows'][0]['score']['mean']:.1f}" in page and "(images/sweep-memory-size.png)" in page
    assert str(tmp_path) not in page


def test_record_refuses_what_is_not_complete(mine: Path, tmp_path: Path) -> None:
    outcome = read_json(mine / "sweep.json")
    write_json(mine / "sweep.json", {**outcome, "status": "running"})
    with pytest.raises(UserError, match=r"not complete.*running"):
        record(mine, tmp_path)
    short = copy.deepcopy(outcome)
    short["rows"][0]["n"] = 0
    write_json(mine / "sweep.json", short)
    with pytest.raises(UserError, match="lacks replicates"):
        record(mine, tmp_path)
    write_json(mine / "sweep.json", outcome)
    (mine / "sweep.yaml").touch()  # as a call that has begun does
    with pytest.raises(UserError, match="older than its description"):
        record(mine, tmp_path)
    (mine / "sweep.json").unlink()
    with pytest.raises(UserError, match=r"sweep\.json is missing"):
        record(mine, tmp_path)
    assert not (tmp_path / "results").exists()


def test_record_refuses_a_changed_description(finished: Path, mine: Path, tmp_path: Path) -> None:
    plan = yaml.safe_load((mine / "sweep.yaml").read_text(encoding="utf-8"))
    plan["base"]["train"]["epochs"] = 2
    write_text(mine / "sweep.yaml", yaml.safe_dump(plan))
    with pytest.raises(UserError, match="another 'base' than 'memory_size' describes now"):
        record(mine, tmp_path)
    write_text(mine / "sweep.yaml", yaml.safe_dump({**plan, "name": "memory"}))
    with pytest.raises(UserError, match=r"no script has a sweep named 'memory'.*memory size"):
        record(mine, tmp_path)


def test_the_demo_is_that_of_its_file() -> None:
    plan = {**Sweep(name="demo", base=read_config(ROOT / "clplat" / "demo.yaml")).as_dict()}
    assert described(plan) == ("demo", plan)
    other = copy.deepcopy(plan)
    other["base"]["train"]["epochs"] += 1
    assert described(other)[1]["base"] == plan["base"] != other["base"]
