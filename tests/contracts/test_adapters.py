"""Every registered adapter keeps the contract that `clplat.testing` ships."""

from __future__ import annotations

import pytest

from clplat import registry
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._methods import METHODS
from clplat.testing import AdapterContract


class TestRegisteredAdapters(AdapterContract):
    @pytest.fixture(autouse=True, params=registry.names("adapters"))
    def part(self, request: pytest.FixtureRequest) -> None:
        self.cls: type[Adapter] = registry.load("adapters", request.param)
        self.trains_base = request.param == "full"
        row = METHODS.get(request.param)
        self.mergeable = row is not None and row.mergeable

    def make(self) -> Adapter:
        return self.cls()
