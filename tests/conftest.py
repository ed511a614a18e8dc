"""What many tests share: a feature store of their own, and a backbone that takes milliseconds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine only.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


@pytest.fixture(scope="session", autouse=True)
def _own_feature_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing that a test computes reaches the user's own store, or comes from it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLPLAT_CACHE", str(tmp_path_factory.mktemp("features")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Where a data set lies that is not part of the repository; without it, the test is skipped."""

    def folder(name: str) -> Path:
        place = os.environ.get("CLPLAT_SHARED_DATA")
        if not place:
            pytest.skip(f"needs the data set '{name}': set CLPLAT_SHARED_DATA to the folder that has it")
        if not Path(place, name).is_dir():
            pytest.skip(f"CLPLAT_SHARED_DATA is {place}, which has no folder {name}")
        return Path(place, name).resolve()

    return folder


@pytest.fixture(scope="session")
def small_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random CLIP of two layers per tower, width 32 and 16 pixels, for ``local-dir:``."""
    from clplat.models.backbone import Backbone

    tower = {"width": 32, "layers": 2}
    model = {
        "embed_dim": 32,
        "vision_cfg": {**tower, "image_size": 16, "patch_size": 8, "head_width": 16},
        "text_cfg": {**tower, "context_length": 48, "heads": 2},
    }
    folder = tmp_path_factory.mktemp("small") / "backbone"
    Backbone.random(model, seed=0).save(folder)
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Here and in processes that are started: two threads on two busy cores wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)
