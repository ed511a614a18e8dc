"""A config file, the folder of a run or a registered model runs no code of somebody else's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

import clplat
from clplat.cli import main
from clplat.config.resolve import completed, resolve
from clplat.dotted import registered_only
from clplat.errors import UserError
from clplat.kinds import KINDS
from clplat.search import Searcher
from clplat.tuning.samplers import make_sampler

SMALL = {
    "scenario": {"name": "catalogue", "domains": 2, "train": 16, "queries": 20, "gallery": 20, "size": 16},
    "strategy": "frozen",
}
#: Callables of the standard library that take what is written beside their names.
HOSTILE = {
    "scenario": {"name": "subprocess:Popen", "args": ["touch", "{mark}"]},
    "composer": {"name": "pathlib:Path.touch", "self": "{mark}"},
    "strategy": {"name": "os:system", "command": "touch {mark}"},
    "loss": ["info_nce", {"name": "os:mkdir", "path": "{mark}"}],
    "adapter": "builtins:breakpoint",
}


def filled(entry: object, mark: Path) -> object:
    return yaml.safe_load(yaml.safe_dump(entry).replace("{mark}", str(mark)))


@pytest.mark.parametrize("slot", HOSTILE)
def test_a_configuration_file_calls_only_parts(
    slot: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark, file = tmp_path / "mark", tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({slot: filled(HOSTILE[slot], mark)}))
    assert main(["run", "--config", str(file), "--print-config"]) == 2
    said = capsys.readouterr().err
    assert not mark.exists() and said.count("\n") == 1
    assert f"is no {slot}: it " in said


def test_a_class_that_only_bears_the_name_of_a_method_is_no_scenario() -> None:
    with pytest.raises(UserError, match="lacks the method benchmark"):
        resolve({"scenario": "collections:OrderedDict"})
    assert all(kind.contract or kind.methods or kind.maker for kind in KINDS.values())


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Writes a module with a real strategy that leaves a mark when it is imported; returns the mark."""

    def write(name: str) -> Path:
        mark = tmp_path / f"{name}-was-imported"
        (tmp_path / f"{name}.py").write_text(
            "import pathlib\nfrom strategies import Frozen\n"
            f"pathlib.Path({str(mark)!r}).touch()\nclass Mine(Frozen): ...\n"
        )
        return mark

    monkeypatch.syspath_prepend(tmp_path)
    return write


@pytest.fixture
def run_folder(small_backbone: Path, tmp_path: Path) -> Path:
    clplat.run({**SMALL, "backbone": f"local-dir:{small_backbone}"}, tmp_path / "run")
    return tmp_path / "run"


def planted(folder: Path, strategy: str) -> None:
    """Another strategy in the configuration that a folder holds."""
    held = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**held, "strategy": {"name": strategy}}))


def test_the_folder_of_a_run_imports_nothing(
    run_folder: Path, foreign: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    mark = foreign("clplat_planted")
    planted(run_folder, "clplat_planted:Mine")
    words = {
        "search": ["--run", str(run_folder), "--text", "in red", "--grid", str(run_folder / "g.png")],
        "derive": [str(run_folder), "--strategy", "patch", "--no-track"],
        "submit": [str(run_folder), "--format", "circo", "--domain", "dress-studio"],
    }
    for command, rest in words.items():
        assert main([command, *rest]) == 2, command
        said = capsys.readouterr().err
        assert not mark.exists() and "clplat_planted" not in sys.modules, command
        assert "config.yaml names the strategy 'clplat_planted:Mine'" in said and "--trust" in said
    for call in (clplat.load, Searcher):
        with pytest.raises(UserError, match="which is not registered"):
            call(run_folder)
    # Going on with a run compares its configuration with what is asked for.
    assert main(["run", "--strategy", "naive", "--out", str(run_folder), "--no-track"]) == 2
    assert "holds another experiment" in capsys.readouterr().err and not mark.exists()
    assert completed({"strategy": {"name": "clplat_planted:Mine"}})["strategy"]["name"]
    assert not mark.exists()
    assert main(["search", *words["search"], "--trust"]) == 0
    assert mark.exists()


def test_the_user_may_name_a_class_and_read_it_back_in_the_same_process(
    small_backbone: Path, tmp_path: Path, foreign: Callable[[str], Path]
) -> None:
    mark = foreign("clplat_own")
    clplat.run(
        {**SMALL, "backbone": f"local-dir:{small_backbone}", "strategy": "clplat_own:Mine"}, tmp_path / "run"
    )
    assert mark.exists()
    assert not clplat.load(tmp_path / "run").training
    other = foreign("clplat_other")
    planted(tmp_path / "run", "clplat_other:Mine")
    with pytest.raises(UserError, match="not registered"):
        clplat.load(tmp_path / "run")
    assert not other.exists()
    with clplat.trusted():
        clplat.load(tmp_path / "run")
    assert other.exists()


def test_what_is_nested_or_a_sampler_is_held_to_the_same(foreign: Callable[[str], Path]) -> None:
    mark = foreign("clplat_nested")
    nested = {"strategy": {"name": "distill", "teacher": "clplat_nested:Mine"}}
    refused = pytest.raises(UserError, match="a folder names the teacher 'clplat_nested:Mine'")
    with refused, registered_only("a folder"):
        resolve(nested)
    assert not mark.exists()
    with pytest.raises(UserError, match="is no teacher: it does not extend TeacherPart"):
        resolve(nested)
    with pytest.raises(UserError, match="is no sampler"):
        make_sampler("subprocess:Popen", 0, 0)


@pytest.mark.parametrize("name", ["a b:c", "os:", ":Popen", "os:a:b", "this-module:X", "x" * 300 + ":Y"])
def test_names_of_no_form_are_one_line(name: str) -> None:
    with pytest.raises(UserError, match="cannot load the strategy") as caught:
        resolve({"strategy": name})
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700


@pytest.mark.parametrize("text", ["raise SystemExit(0)", "1 / 0", "def broken(:", "raise KeyboardError"])
def test_a_module_that_cannot_be_imported_is_one_line(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "clplat_test_raises.py").write_text(text)
    with pytest.raises(UserError, match="cannot load the loss 'clplat_test_raises:X'"):
        resolve({"loss": "clplat_test_raises:X"})
    sys.modules.pop("clplat_test_raises", None)
