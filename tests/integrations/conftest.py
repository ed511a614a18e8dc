"""The libraries work without a network, in a folder of the test's own."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when they are imported


@pytest.fixture(autouse=True, scope="module")
def _light_collections() -> Iterator[None]:
    """Hugging Face's trainer collects garbage at every start: 0.3 s where all of torch is loaded."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    monkeypatch.chdir(tmp_path)
