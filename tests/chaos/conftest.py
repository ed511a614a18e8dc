"""What a file holds, to the bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch


def _bits(node: Any) -> Any:
    if isinstance(node, torch.Tensor):
        return node.dtype, tuple(node.shape), node.flatten().view(torch.uint8).numpy().tobytes()
    if isinstance(node, dict):
        return [(key, _bits(value)) for key, value in node.items()]
    return [_bits(value) for value in node] if isinstance(node, list | tuple) else node


@pytest.fixture(scope="session")
def bits() -> Callable[[Any], Any]:
    """Gives something that is equal where every bit is, NaN included."""
    return _bits
