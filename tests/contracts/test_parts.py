"""Every part that the registry finds keeps the contract of its kind and has a test of its name.

Nothing is listed here: a new part is found, and so is a new kind. A part that needs arguments, or is large
without them, has a subclass of the contract in its own test, as parts of third parties have.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import clplat.testing
from clplat import registry
from clplat.kinds import Kind, every_kind

ROOT = Path(__file__).resolve().parents[2]


def ours(kind: Kind) -> dict[str, Path]:
    """Name -> file of the parts of this repository; others may be installed beside them, in .venv here."""
    found = {name: place.path for name, place in registry.places(kind.plural).items()}
    inside = {name: path for name, path in found.items() if path and path.is_relative_to(ROOT)}
    return {name: path for name, path in inside.items() if "site-packages" not in path.parts}


def its_test(path: Path) -> Path:
    """``strategies/regularisation/ewc.py`` -> ``tests/strategies/regularisation/test_ewc.py``."""
    inside = path.relative_to(ROOT / "clplat" if path.is_relative_to(ROOT / "clplat") else ROOT)
    return ROOT / "tests" / inside.with_name(f"test_{path.name}")


def has_contract_tests(kind: Kind, path: Path) -> bool:
    test = its_test(path)
    return test.exists() and f"({kind.tests}):" in test.read_text(encoding="utf-8")


def registered(kind: Kind, names: list[str]) -> type:
    """The contract tests of these parts of a kind."""
    contract: Any = getattr(clplat.testing, kind.tests)

    class Registered(contract):
        @pytest.fixture(autouse=True, params=names)
        def part(self, request: pytest.FixtureRequest) -> None:
            self.name = request.param

        def make(self) -> Any:
            return registry.load(kind.plural, self.name)()

    return type(f"Test{kind.plural.capitalize()}", (Registered,), {})


KINDS_OF_FILES = [kind for kind in every_kind() if kind.plural]
PARTS = [(kind, name) for kind in KINDS_OF_FILES for name in ours(kind)]

for _kind in KINDS_OF_FILES:
    _names = [name for name, path in ours(_kind).items() if not has_contract_tests(_kind, path)]
    if _names:
        globals()[f"Test{_kind.plural.capitalize()}"] = registered(_kind, _names)


@pytest.mark.parametrize(("kind", "name"), PARTS, ids=[f"{kind.slot}-{name}" for kind, name in PARTS])
def test_a_part_has_a_test_of_its_name(kind: Kind, name: str) -> None:
    path = ours(kind)[name]
    assert its_test(path).exists(), f"the test of {path.name} is {its_test(path).relative_to(ROOT)}"


@pytest.mark.parametrize("name", registry.names("strategies"))
def test_the_docstring_has_references_and_an_example(name: str) -> None:
    part = registry.load("strategies", name)
    text = inspect.getdoc(part) or ""
    assert "\nExample:\n    >>> " in text
    assert "\nReferences:\n" in text or part.role != "method"  # controls have no paper
