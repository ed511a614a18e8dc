"""Every registered projection keeps the contract that `clplat.testing` ships."""

from __future__ import annotations

import pytest

from clplat import registry
from clplat.parts.projections._base import Projection
from clplat.testing import ProjectionContract


class TestRegisteredProjections(ProjectionContract):
    @pytest.fixture(autouse=True, params=registry.names("projections"))
    def part(self, request: pytest.FixtureRequest) -> None:
        self.cls: type[Projection] = registry.load("projections", request.param)
        self.fitted = request.param != "identity"

    def make(self) -> Projection:
        return self.cls()
