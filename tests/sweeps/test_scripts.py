"""Every script in sweeps/ describes a sweep that can be laid out; one runs; docs/sweeps.md says how."""

from __future__ import annotations

import ast
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from clplat.cli import main
from clplat.errors import UserError
from clplat.files import read_json
from clplat.measures import MEASURES
from clplat.sweep import Sweep
from clplat.sweep.layout import Layout
from clplat.tuning.samplers import PRUNERS, SAMPLERS
from sweeps import question_of
from sweeps.publish import ROOT, scripts

SCRIPTS = scripts()
PAGE = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")


# -- the scripts ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_can_be_laid_out(name: str) -> None:
    sweep = SCRIPTS[name]
    layout = Layout(sweep)
    contenders = {entry.method for entry in layout.entries if not entry.control}
    assert contenders == set(sweep.entries()) - set(sweep.controls)
    assert len({entry.config.name("scenario") for entry in layout.entries}) == 1
    for entry in layout.entries:
        runs = list(layout.finals(entry, "default", {}))
        assert len({run.folder for run in runs}) == len(sweep.seeds) >= 2
    assert bool(layout.studies) == sweep.budget.tunes


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_asks_one_question_and_draws_it(name: str) -> None:
    sweep, source = SCRIPTS[name], (ROOT / "sweeps" / f"{name}.py").read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(source)) or ""
    assert sweep.question == question_of(doc) and doc.split("\n")[0].endswith("?")
    assert f"python sweeps/{name}.py" in doc and "laptop size" in doc
    assert sweep.name == name.replace("_", " ")
    assert sweep.figure is not None
    assert f"| `{name}.py` |" in PAGE


def test_methods_of_a_script_are_all_different() -> None:
    """Two labels for one configuration would be compared with each other."""
    for name, sweep in SCRIPTS.items():
        first = [e for e in Layout(sweep).entries if e.group == next(iter(sweep.groups)) and not e.control]
        configs = [str(entry.config) for entry in first]
        assert len(set(configs)) == len(configs), name


@pytest.fixture(params=["here", pytest.param("in a process of its own", marks=pytest.mark.slow)])
def started(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Run a file as a script in an empty folder; what it prints."""

    def here(script: Path, *words: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [str(script), *words])
        with pytest.raises(SystemExit) as stopped:
            runpy.run_path(str(script), run_name="__main__")
        assert stopped.value.code == 0
        return capsys.readouterr().out

    def apart(script: Path, *words: str) -> str:
        command = [sys.executable, str(script), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return here if request.param == "here" else apart


def test_a_script_runs_from_its_command_line(
    small_backbone: Path, tmp_path: Path, started: Callable[..., str]
) -> None:
    sizes = {"train": 32, "domains": 2, "queries": 20, "gallery": 20, "size": 16}
    words = [word for key, value in sizes.items() for word in (f"--scenario.{key}", str(value))]
    words += ["--backbone", f"local-dir:{small_backbone}", "--train.epochs", "1", "--seeds", "0"]
    words += ["--controls", "frozen", "--no-track", "--out", str(tmp_path / "out")]
    printed = started(ROOT / "sweeps" / "memory_size.py", *words)
    outcome = read_json(tmp_path / "out" / "sweep.json")
    assert outcome["status"] == "complete" and outcome["seeds"] == [0]
    assert outcome["command"].startswith("python sweeps/memory_size.py --scenario.train 32")
    labels = {row["label"] for row in outcome["rows"]}
    assert labels == {*SCRIPTS["memory_size"].entries(), "frozen"}
    assert all(label in printed for label in labels)
    assert (tmp_path / "out" / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert outcome["question"][:40] in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    _page_describes(outcome)


# -- docs/sweeps.md ---------------------------------------------------------------------------


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"docs/sweeps.md has no {language}"
    return found[1]


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[Sweep]:
    """What the command line was about to run."""
    seen: list[Sweep] = []

    def instead(sweep: Sweep, *_: Any, **__: Any) -> dict[str, Any]:
        seen.append(sweep)
        return {"rows": [], "failures": []}

    monkeypatch.setattr("clplat.sweep.run.run_sweep", instead)
    return seen


def test_three_ways_to_write_a_sweep_give_the_same(
    swept: list[Sweep], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, script = tmp_path / "replay.yaml", tmp_path / "replay.py"
    plan.write_text(_block("yaml"), encoding="utf-8")
    script.write_text(_block("python"), encoding="utf-8")
    flags = _block("sh").replace("\\\n", " ")
    assert main(["sweep", "--plan", str(plan), "--no-track"]) == 0
    monkeypatch.setattr(sys, "argv", [str(script), "--no-track"])
    with pytest.raises(SystemExit) as stopped:
        exec(
            compile(script.read_text(), str(script), "exec"),
            {"__name__": "__main__", "__file__": str(script)},
        )
    assert stopped.value.code == 0
    assert main([*shlex.split(flags)[1:], "--no-track"]) == 0

    by_file, by_script, by_flags = swept
    layouts = [Layout(sweep) for sweep in swept]
    for sweep, layout in zip(swept[1:], layouts[1:], strict=True):
        assert {**sweep.as_dict(), "base": {}} == {**by_file.as_dict(), "base": {}}
        assert [e.config for e in layout.entries] == [e.config for e in layouts[0].entries]
        assert [e.space for e in layout.entries] == [e.space for e in layouts[0].entries]
    assert by_file.budget.trials == 8 and by_flags.constraints == {"zero_shot": 50}
    assert list(by_script.entries()) == ["replay", "ewc"]
    assert layouts[0].entries[0].config.train.epochs == 2


def test_flags_lie_on_top_of_a_script(swept: list[Sweep]) -> None:
    start = SCRIPTS["memory_size"]
    words = ["sweep", "--scenario.train", "2000", "--seeds", "0,1,2,3,4", "--no-track"]
    assert main(words, sweep=start) == 0
    (made,) = swept
    assert list(made.seeds) == [0, 1, 2, 3, 4] and made.entries() == start.entries()
    assert {e.config.option("scenario.train") for e in Layout(made).entries} == {2000}
    assert {e.config.option("scenario.domains") for e in Layout(made).entries} == {4}


def test_every_key_and_its_default_is_on_the_page() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", PAGE[PAGE.index("## Keys") :], re.MULTILINE))
    for field in fields(Sweep):
        assert field.name in rows, field.name
    for name in ("sampler", "pruner", "name"):
        assert rows[name] == f"`{getattr(Sweep(), name)}`"
    for name in ("controls", "tune", "objectives"):
        assert rows[name] == f"`[{', '.join(getattr(Sweep(), name))}]`"
    for word in (*MEASURES, *SAMPLERS, *PRUNERS):
        assert f"`{word}`" in PAGE, word


def _page_describes(outcome: dict[str, Any]) -> None:
    """No key of sweep.json without a line, no line without a key."""
    text = PAGE[PAGE.index("## sweep.json") :]
    parts = dict(re.findall(r"(?:## |\*\*)([\w.]+)(?:\*\*)?\n(.*?)(?=\n\*\*\w+\*\*\n|\Z)", text, re.DOTALL))

    def said(part: str) -> set[str]:
        lines = re.findall(r"^\| (`.*?) \|", parts[part], re.MULTILINE)
        return {name for line in lines for name in re.findall(r"`(\w+)`", line)}

    assert said("sweep.json") == set(outcome)
    assert said("rows") == set(outcome["rows"][0])
    assert said("comparisons") == set(outcome["comparisons"][0])


def test_studies_are_described() -> None:
    """Of the newest sweep with studies in the ledger there are no trials; the source says the keys."""
    from clplat.sweep import outcome

    source = Path(outcome.__file__).read_text(encoding="utf-8")
    function = next(
        node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == "_study"
    )
    keys = {
        key.value
        for node in ast.walk(function)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    }
    text = PAGE[PAGE.index("**studies**") :]
    assert len(keys) > 8 and all(f"`{key}`" in text for key in keys)


def test_a_script_refuses_what_no_sweep_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--seedz", "1"], sweep=SCRIPTS["memory_size"]) == 2
    assert "seedz" in capsys.readouterr().err
    with pytest.raises(UserError, match="unknown strategy"):
        Layout(Sweep(methods=["reply"]))
