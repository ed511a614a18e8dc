"""Every registered strategy keeps the contract that `clplat.testing` ships."""

from __future__ import annotations

import inspect

import pytest

from clplat import registry
from clplat.testing import StrategyContract
from clplat.training.strategy import Strategy


class TestRegisteredStrategies(StrategyContract):
    @pytest.fixture(autouse=True, params=registry.names("strategies"))
    def part(self, request: pytest.FixtureRequest) -> None:
        self.name = request.param

    def make(self) -> Strategy:
        part: type[Strategy] = registry.load("strategies", self.name)
        return part()


@pytest.mark.parametrize("name", registry.names("strategies"))
def test_the_docstring_has_references_and_an_example(name: str) -> None:
    part = registry.load("strategies", name)
    text = inspect.getdoc(part) or ""
    assert "\nExample:\n    >>> " in text
    assert "\nReferences:\n" in text or part.role != "method"  # controls have no paper
