"""The libraries work without a network, in a folder of the test's own."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when they are imported


@pytest.fixture(autouse=True, scope="module")
def _garbage() -> Iterator[None]:
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str], _garbage: None) -> None:
    monkeypatch.chdir(tmp_path)
    # Hugging Face's trainer collects garbage at every start: 0.3 s where all of torch is loaded.
    gc.freeze()
