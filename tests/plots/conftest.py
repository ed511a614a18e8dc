"""The synthetic results of the tracking tests."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def make_result() -> Callable[..., dict[str, Any]]:
    path = Path(__file__).parents[1] / "tracking" / "conftest.py"
    spec = importlib.util.spec_from_file_location("tracking_conftest", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # its dataclasses look there
    spec.loader.exec_module(module)
    maker: Callable[..., dict[str, Any]] = module.synthetic
    return maker
