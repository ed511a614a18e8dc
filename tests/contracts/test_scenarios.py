"""Every registered scenario keeps the contract that `clplat.testing` ships."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clplat import registry
from clplat.testing import ScenarioContract

#: Sizes at which a scenario is built here, where its constructor knows them.
SMALL = {"domains": 2, "train": 12, "queries": 10, "gallery": 40}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two domains of two classes, thirty pictures each."""
    root = tmp_path_factory.mktemp("folders")
    for domain, ground in (("photo", "white"), ("sketch", "black")):
        for category, colour in (("cat", "red"), ("dog", "blue")):
            folder = root / domain / category
            folder.mkdir(parents=True)
            for i in range(30):
                picture = Image.new("RGB", (16, 16), ground)
                picture.paste(colour, (i % 8, 2, i % 8 + 6, 10 + i % 5))
                picture.save(folder / f"{i:02d}.png")
    return str(root)


class TestRegisteredScenarios(ScenarioContract):
    @pytest.fixture(autouse=True, params=registry.names("scenarios"))
    def part(self, request: pytest.FixtureRequest, folders: str) -> None:
        self.cls: Any = registry.load("scenarios", request.param)
        known = inspect.signature(self.cls).parameters
        self.settings: dict[str, Any] = {key: value for key, value in SMALL.items() if key in known}
        if "root" in known:
            self.settings["root"] = folders

    def make(self) -> Any:
        return self.cls(**self.settings)


def test_a_folder_tree_may_lie_anywhere(folders: str, tmp_path: Path) -> None:
    part = registry.load("scenarios", "domain_folders")
    elsewhere = tmp_path / Path(folders).name
    Path(folders).rename(elsewhere)
    try:
        moved = part(root=str(elsewhere), train=12, queries=10).fingerprint()
    finally:
        elsewhere.rename(folders)
    assert moved == part(root=folders, train=12, queries=10).fingerprint()
