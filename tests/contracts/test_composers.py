"""Every registered composer keeps the contract that `clplat.testing` ships."""

from __future__ import annotations

import pytest

from clplat import registry
from clplat.parts.composers._base import Composer
from clplat.testing import ComposerContract


class TestRegisteredComposers(ComposerContract):
    @pytest.fixture(autouse=True, params=registry.names("composers"))
    def part(self, request: pytest.FixtureRequest) -> None:
        self.cls: type[Composer] = registry.load("composers", request.param)

    def make(self) -> Composer:
        return self.cls()
