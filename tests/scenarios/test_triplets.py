"""A table of one's own: equal in every format, complete, and wrong cells are named by their rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from clplat.testing import ScenarioContract
from clplat.testing.twins import FORMS, triplets
from scenarios.triplets import Triplets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same stream in every format."""
    folder = tmp_path_factory.mktemp("tables")
    for form in FORMS:
        triplets(folder, form)
    return folder


class TestTriplets(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> Triplets:
        return Triplets(str(self.folder / "data.jsonl"))


class TestTripletsInShards(TestTriplets):
    def make(self) -> Triplets:
        return Triplets(str(self.folder / "shards"))


def test_every_format_gives_the_same_stream(folder: Path) -> None:
    prints = {Triplets(str(triplets(folder, form))).fingerprint() for form in FORMS}
    assert len(prints) == 1
