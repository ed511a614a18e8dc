"""Every registered loss keeps the contract that `clplat.testing` ships."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat import registry
from clplat.testing import LossContract


def relation(loss: Callable[..., Tensor], query: Tensor, candidates: Tensor) -> Tensor:
    """A student's similarities against a teacher that knows the answers."""
    return loss(student=query @ candidates.T, teacher=torch.eye(len(query)))


#: How losses are called that take no queries and candidates.
OTHER_INPUTS: dict[str, Any] = {"similarity_distillation": relation}


class TestRegisteredLosses(LossContract):
    @pytest.fixture(autouse=True, params=registry.names("losses"))
    def part(self, request: pytest.FixtureRequest) -> None:
        self.cls: Any = registry.load("losses", request.param)
        if request.param in OTHER_INPUTS:
            self.call = OTHER_INPUTS[request.param]

    def make(self) -> Callable[..., Tensor]:
        loss: Callable[..., Tensor] = self.cls()
        return loss


def test_the_exceptions_exist() -> None:
    assert set(OTHER_INPUTS) <= set(registry.names("losses"))
