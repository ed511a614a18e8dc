"""Names -> parts: every entry point of the installed package, and what a third party can do wrong."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from clplat import registry
from clplat.errors import UserError

ROOT = Path(__file__).parents[1]
EVERY = [(kind, name) for kind in registry.KINDS for name in registry.names(kind)]


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs entry points for the time of a test."""

    def points(*entries: tuple[str, str]) -> None:
        made = [EntryPoint(name, value, "clplat.strategies") for name, value in entries]
        monkeypatch.setattr(registry, "entry_points", lambda group: made)
        registry._points.cache_clear()

    yield points
    registry._points.cache_clear()


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_registered_name_loads_and_says_what_it_is(kind: str, name: str) -> None:
    part = registry.load(kind, name)
    assert inspect.isclass(part)
    line = registry.describe(kind, name)
    assert 10 < len(line) < 140 and line == line.strip()
    assert name == name.lower()


def test_what_is_installed_is_what_pyproject_declares() -> None:
    tomllib = pytest.importorskip("tomllib")
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    for kind in registry.KINDS:
        assert registry.names(kind) == sorted(declared[f"clplat.{kind}"]), "run: pip install -e ."


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown strategy 'ewq'; did you mean 'ewc'\? \(allowed: agem, "):
        registry.load("strategies", "ewq")
    with pytest.raises(UserError, match="unknown loss 'infonce'; did you mean 'info_nce'"):
        registry.load("losses", "infonce")
    with pytest.raises(UserError, match="unknown kind of part 'strategy'; did you mean 'strategies'"):
        registry.names("strategy")


def test_a_dotted_path_loads_what_no_package_registers() -> None:
    from strategies import EWC

    assert registry.load("strategies", "strategies.ewc:EWC") is EWC


@pytest.mark.parametrize("path", ["no.such.module:Part", "strategies.ewc:NoSuchClass"])
def test_a_dotted_path_to_nothing_is_told(path: str) -> None:
    with pytest.raises(UserError, match="cannot load the strategy") as caught:
        registry.load("strategies", path)
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_a_third_party_registers_beside_us(register: Callable[..., None]) -> None:
    register(("mine", "strategies.naive:Naive"), ("ewc", "strategies.ewc:EWC"))
    assert registry.names("strategies") == ["ewc", "mine"]
    assert registry.load("strategies", "mine").__name__ == "Naive"


def test_the_same_entry_twice_is_no_clash(register: Callable[..., None]) -> None:
    register(("ewc", "strategies.ewc:EWC"), ("ewc", "strategies.ewc:EWC"))
    assert registry.names("strategies") == ["ewc"]


def test_two_packages_with_one_name_are_told(register: Callable[..., None]) -> None:
    register(("ewc", "strategies.ewc:EWC"), ("ewc", "other.ewc:EWC"))
    with pytest.raises(UserError, match=r"two installed packages register the strategy 'ewc': .*other\.ewc"):
        registry.names("strategies")


def test_a_name_in_capitals_is_told(register: Callable[..., None]) -> None:
    register(("EWC", "strategies.ewc:EWC"))
    with pytest.raises(UserError, match=r"'EWC'.*must be lower case"):
        registry.names("strategies")


def hiding(folder: Path, **environment: str) -> str:
    """What is said when a strategy is loaded in a folder that has ``strategies`` of its own."""
    (folder / "strategies").mkdir(parents=True)
    (folder / "strategies" / "__init__.py").write_text("")
    code = "from clplat import registry; registry.load('strategies', 'ewc')"
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, capture_output=True, text=True)
    return done.stderr.strip().splitlines()[-1]


def test_a_folder_of_the_user_that_hides_ours_is_named(tmp_path: Path) -> None:
    said = hiding(tmp_path)
    assert "shadows clplat's own 'strategies' package" in said and str(tmp_path) in said


@pytest.mark.parametrize("name", ["clplat", "a folder", "strategies"])
def test_so_is_one_inside_a_clone_of_any_name(name: str, tmp_path: Path) -> None:
    for package in ("clplat", "strategies"):
        shutil.copytree(ROOT / package, tmp_path / name / package, ignore=shutil.ignore_patterns("weights"))
    place = tmp_path / name / "runs"
    said = hiding(place, PYTHONPATH=str(tmp_path / name))
    assert "shadows clplat's own 'strategies' package" in said and str(place) in said


def test_names_come_without_loading_anything_heavy() -> None:
    code = (
        "import sys; from clplat import registry; "
        "[registry.names(kind) for kind in registry.KINDS]; "
        "print([m for m in ('torch', 'peft', 'avalanche', 'open_clip', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
