"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import random
from pathlib import Path

import numpy as np
import pytest
import torch

OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules() -> list[str]:
    """The modules of all four packages that have examples, found without importing any of them."""
    found = []
    for package in ("clplat", "strategies", "scenarios", "sweeps"):
        spec = importlib.util.find_spec(package)
        assert spec is not None and spec.submodule_search_locations
        names = [package]
        for folder in spec.submodule_search_locations:
            names += [m.name for m in pkgutil.walk_packages([folder], f"{package}.") if not m.ispkg]
            names += [
                ".".join([package, *init.parent.relative_to(folder).parts])
                for init in Path(folder).rglob("*/__init__.py")
            ]
        found += names
    return sorted(name for name in set(found) if ">>> " in source(name))


def source(name: str) -> str:
    root = Path(__file__).resolve().parents[2]
    path = root.joinpath(*name.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")


def failed(name: str) -> tuple[int, str]:
    """How many examples of a module fail, and what is said of them."""
    module = importlib.import_module(name)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=OPTIONS, verbose=False)
    tests = doctest.DocTestFinder(exclude_empty=True).find(module, name)
    for test in tests:
        runner.run(test, out=said.append)
    assert any(test.examples for test in tests), "the module shows examples that doctest does not find"
    return runner.summarize(verbose=False).failed, "".join(said)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", modules())
def test_the_examples_of(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    count, said = failed(name)
    assert count == 0, said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", modules())
def test_the_examples_print_the_same_whatever_is_drawn(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that an example draws itself must not show: a reader's differ."""
    monkeypatch.chdir(tmp_path)
    for begin in range(1, 13):
        torch.manual_seed(begin)
        np.random.seed(begin)  # what an example may draw from without saying so
        random.seed(begin)
        count, said = failed(name)
        assert count == 0, f"where global generators begin at {begin}:\n{said}"
