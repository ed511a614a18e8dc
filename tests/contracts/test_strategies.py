"""Every registered strategy keeps the contract that `clplat.testing` ships."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from clplat import registry
from clplat.testing import StrategyContract
from clplat.training.strategy import Strategy

#: Strategies that do not fit the contract's usual set-up.
UNUSUAL: dict[str, dict[str, Any]] = {
    "frozen": {"learns": False},
    "lora_per_domain": {"any_module": False, "own_adapter": True},
}
#: Controls: there is no paper to cite.
BASELINES = {"frozen", "naive", "cumulative"}


class TestRegisteredStrategies(StrategyContract):
    @pytest.fixture(autouse=True, params=registry.names("strategies"))
    def part(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param
        for key, value in UNUSUAL.get(self.name, {}).items():
            setattr(self, key, value)

    def make(self) -> Strategy:
        part: type[Strategy] = registry.load("strategies", self.name)
        return part()


@pytest.mark.parametrize("name", registry.names("strategies"))
def test_the_docstring_has_references_and_an_example(name: str) -> None:
    text = inspect.getdoc(registry.load("strategies", name)) or ""
    assert "\nExample:\n    >>> " in text
    assert "\nReferences:\n" in text or name in BASELINES


def test_the_exceptions_exist() -> None:
    assert set(UNUSUAL) | BASELINES <= set(registry.names("strategies"))
