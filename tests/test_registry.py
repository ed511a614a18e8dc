"""Names -> parts: every file of a part that is found, and what a third party can do wrong."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

import pytest

from clplat import registry, scan, stubs
from clplat.errors import UserError
from clplat.kinds import KINDS, every_kind, kind_named

ROOT = Path(__file__).resolve().parents[1]
PLURALS = [kind.plural for kind in KINDS.values() if kind.plural]
EVERY = [(kind, name) for kind in PLURALS for name in registry.names(kind)]


def forget() -> None:
    for cached in (scan.packages, scan.scanned, registry.places, registry.classes_in, registry.classes_of):
        cached.cache_clear()


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Installs entry points of single strategies for the time of a test."""

    def points(*entries: tuple[str, str]) -> None:
        made = [EntryPoint(name, value, "clplat.strategies") for name, value in entries]
        monkeypatch.setattr(registry, "entry_points", lambda group: made if group == made[0].group else [])
        forget()

    yield points
    forget()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Installs a package of a third party that is scanned, for the time of a test."""

    def package(name: str, **files: str) -> Path:
        for path, text in files.items():
            file = tmp_path / name / f"{path.replace('__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        monkeypatch.syspath_prepend(str(tmp_path))
        theirs = EntryPoint("theirs", name, "clplat.packages")
        monkeypatch.setattr(scan, "entry_points", lambda group: [*entry_points(group=group), theirs])
        forget()
        return tmp_path / name

    yield package
    forget()


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_registered_name_loads_and_says_what_it_is(kind: str, name: str) -> None:
    part = registry.load(kind, name)
    assert inspect.isclass(part)
    line = registry.describe(kind, name)
    assert 10 < len(line) < 140 and line == line.strip()
    assert name == name.lower()


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_a_part_extends_the_contract_of_its_kind_and_lies_in_its_folder(kind: str, name: str) -> None:
    contract = kind_named(kind).contract
    if contract:
        assert issubclass(registry.load(kind, name), EntryPoint("", contract, "").load())
    path = registry.place_of(kind, name).path
    assert path is not None and kind in path.parts
    assert path.stem == name or (path.parent / "_methods.py").exists(), (
        "one file, one part; or a module of many"
    )


STUBS = [path for package in scan.packages() for path in stubs.written(package)]


@pytest.mark.parametrize("path", STUBS, ids=lambda path: path.parent.name)
def test_what_editors_read_exists(path: Path) -> None:
    """The file may lack the newest part: `make check` writes it, not whoever adds one."""
    lines = re.findall(r"^from (\S+) import (\w+) as \2$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    for module, name in lines:
        assert inspect.isclass(getattr(importlib.import_module(module), name))


def test_what_is_written_for_editors_names_every_part() -> None:
    written = "".join(text for package in scan.packages() for text in stubs.written(package).values())
    for kind, name in EVERY:
        place = registry.place_of(kind, name)
        assert f"from {place.module} import {place.attribute} as {place.attribute}\n" in written


def test_stubs_are_written_where_they_are_old_and_nowhere_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.pyi", tmp_path / "new.pyi"
    old.write_text("before\n")
    new.write_text("now\n")
    monkeypatch.setattr(stubs, "written", lambda package: {old: "now\n", new: "now\n"})
    monkeypatch.setattr(stubs, "short", dict)
    stubs.main()
    assert old.read_text() == "now\n"
    assert capsys.readouterr().out == f"{old}\n"


def test_a_module_that_makes_many_parts_lists_what_it_makes() -> None:
    from clplat.parts.adapters._methods import METHODS
    from clplat.parts.adapters.peft import PARTS

    assert {name: row.name for name, row in METHODS.items()} == PARTS


PART = """
__all__ = ["Mine", "helper"]
from strategies import Naive
def helper(): ...
class _Hidden: ...
class Mine(Naive):
    \'\'\'Mine: a strategy that a test makes.\'\'\'
"""


def test_a_package_of_a_third_party_is_scanned(install: Callable[..., Path]) -> None:
    install("theirs", strategies__odd__mine=PART, strategies___shared="", other__thing="raise SystemExit")
    assert "mine" in registry.names("strategies") and "ewc" in registry.names("strategies")
    assert registry.place_of("strategies", "mine").family == "odd"
    assert registry.describe("strategies", "mine") == "Mine: a strategy that a test makes."
    assert "theirs.strategies.odd.mine" not in sys.modules, "describing does not import"
    assert registry.load("strategies", "mine").__name__ == "Mine"


def test_a_second_part_of_one_name_is_reported(install: Callable[..., Path]) -> None:
    install("theirs", strategies__ewc=PART)
    with pytest.raises(UserError, match=r"two parts are called strategy 'ewc': strategies\.reg.*theirs\."):
        registry.names("strategies")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("class Mine: ...", "it has none"),
        ("__all__ = ['A', 'B']\nclass A: ...\nclass B: ...", "it has A, B"),
        ("class Mine(:", "is no Python that can be read"),
    ],
)
def test_a_file_without_one_public_class_is_reported(
    install: Callable[..., Path], text: str, said: str
) -> None:
    install("theirs", strategies__mine=text)
    assert "mine" in registry.names("strategies"), "names alone need no look inside"
    with pytest.raises(UserError, match=rf"theirs/strategies/mine\.py .*{said}"):
        registry.load("strategies", "mine")


def test_an_entry_that_is_no_package_is_reported(install: Callable[..., Path]) -> None:
    install("no_such_package")
    with pytest.raises(UserError, match=r"'theirs' of clplat\.packages names no package: no_such_package"):
        registry.names("strategies")


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UserError, match=r"'ewq'; did you mean 'ewc'\? \(allowed: \d+ names, .*ewc, "):
        registry.load("strategies", "ewq")
    with pytest.raises(UserError, match=r"loss 'infonce'; did you mean 'info_nce'\? \(allowed: cwcl, "):
        registry.load("losses", "infonce")
    with pytest.raises(UserError, match="unknown kind of part 'strategy'; did you mean 'strategies'"):
        registry.names("strategy")


def test_a_dotted_path_loads_what_no_package_registers() -> None:
    from strategies import EWC

    assert registry.load("strategies", "strategies.regularisation.ewc:EWC") is EWC


@pytest.mark.parametrize("path", ["no.such.module:Part", "strategies.regularisation.ewc:NoSuchClass"])
def test_a_dotted_path_to_nothing_is_reported(path: str) -> None:
    with pytest.raises(UserError, match="cannot load the strategy") as caught:
        registry.load("strategies", path)
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_a_third_party_registers_beside_us(register: Callable[..., None]) -> None:
    register(("mine", "strategies.baselines.naive:Naive"), ("ewc", "strategies.regularisation.ewc:EWC"))
    assert {"ewc", "mine"} <= set(registry.names("strategies"))
    assert registry.load("strategies", "mine").__name__ == "Naive"


def test_the_same_entry_twice_is_no_clash(register: Callable[..., None]) -> None:
    register(("ewc", "strategies.regularisation.ewc:EWC"), ("ewc", "strategies.regularisation.ewc:EWC"))
    assert registry.names("strategies").count("ewc") == 1


def test_two_packages_with_one_name_are_reported(register: Callable[..., None]) -> None:
    register(("ewc", "strategies.regularisation.ewc:EWC"), ("ewc", "other.ewc:EWC"))
    with pytest.raises(UserError, match=r"two parts are called strategy 'ewc': .*other\.ewc"):
        registry.names("strategies")


def test_a_name_in_capitals_is_reported(register: Callable[..., None]) -> None:
    register(("EWC", "strategies.regularisation.ewc:EWC"))
    with pytest.raises(UserError, match=r"'EWC'.*must be lower case"):
        registry.names("strategies")


IN_THE_WAY = """
from clplat import registry
from clplat.strategies import EWC
assert registry.load("strategies", "ewc") is EWC
assert registry.load("strategies", "strategies.regularisation.ewc:EWC") is EWC
assert registry.load("strategies", "strategies.mine:Mine").__module__ == "strategies.mine"
registry.load("scenarios", "catalogue"), registry.load("references", "catalogue")
import strategies.mine, sys
print(strategies.mine.__file__, sys.modules[EWC.__module__].__file__, "scenarios" in sys.modules)
"""


def with_a_folder_in_the_way(folder: Path, **environment: str) -> str:
    """What is printed in a folder that has ``strategies`` and ``scenarios`` of its own."""
    for name in ("strategies", "scenarios"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("")
    (folder / "strategies" / "mine.py").write_text(
        "from clplat.training.strategy import Strategy\nclass Mine(Strategy): ..."
    )
    env = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", IN_THE_WAY], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_folder_of_the_user_that_has_our_name_is_in_nobodys_way(tmp_path: Path) -> None:
    ours = ROOT / "strategies" / "regularisation" / "ewc.py"
    assert with_a_folder_in_the_way(tmp_path) == f"{tmp_path / 'strategies' / 'mine.py'} {ours} False"


@pytest.mark.parametrize("name", ["clplat", "strategies"])
def test_nor_in_that_of_a_clone_of_any_name(name: str, tmp_path: Path) -> None:
    for package in ("clplat", "strategies", "scenarios"):
        shutil.copytree(ROOT / package, tmp_path / name / package, ignore=shutil.ignore_patterns("weights"))
    place = tmp_path / name / "runs"
    ours = tmp_path / name / "strategies" / "regularisation" / "ewc.py"
    said = with_a_folder_in_the_way(place, PYTHONPATH=str(tmp_path / name))
    assert said == f"{place / 'strategies' / 'mine.py'} {ours} False"


def test_the_short_name_is_another_name_of_the_same_modules() -> None:
    import clplat.strategies.regularisation.ewc as below

    import strategies.regularisation.ewc as beside
    from clplat import scenarios
    from clplat import strategies as package
    from scenarios import Catalogue
    from strategies import EWC

    assert below is beside and below.EWC is EWC is package.EWC and scenarios.Catalogue is Catalogue
    with pytest.raises(ModuleNotFoundError, match=r"'strategies\.nothing'"):
        importlib.import_module("strategies.nothing")


@pytest.mark.parametrize("kind", [kind.plural for kind in every_kind() if kind.plural])
def test_every_kind_is_imported_in_one_line(kind: str) -> None:
    module = importlib.import_module(f"clplat.{kind}")
    path = Path(str(module.__file__))
    written = {each: text for each, text in stubs.short().items() if each.stem == path.stem}
    for name in registry.names(kind):
        place = registry.place_of(kind, name)
        if place.module.startswith(("clplat.", "strategies.", "scenarios.")):
            assert getattr(module, str(place.attribute)) is registry.load(kind, name)
            assert place.attribute in dir(module)
            assert f" as {place.attribute}\n" in written[path.with_suffix(".pyi")]
    with pytest.raises(AttributeError):
        module.nothing  # noqa: B018
    assert path not in written or path.read_text() == written[path], "run `make check`"


def test_names_come_without_loading_anything_heavy() -> None:
    code = (
        "import sys; from clplat import registry; "
        "from clplat.kinds import KINDS; "
        "[registry.names(kind.plural) for kind in KINDS.values() if kind.plural]; "
        "print([m for m in ('torch', 'peft', 'avalanche', 'open_clip', 'mlflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
