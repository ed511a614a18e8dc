"""Pictures of a folder and lines of a file, beside the stream."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from clplat.parts.references.folder import Folder
from clplat.testing import ReferenceContract


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    for i in range(5):
        Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / ("deep" if i % 2 else ".") / f"{i}.png")
    (tmp_path / "captions.txt").write_text("a dog\n\na cat\na dog\na red bird \na fish\n", encoding="utf-8")
    return tmp_path


class TestFolder(ReferenceContract):
    @pytest.fixture(autouse=True)
    def place(self, folder: Path) -> None:
        self.folder = folder

    def make(self) -> Folder:
        return Folder(str(self.folder), seed=1)


def test_it_reads_all_pictures_and_distinct_lines(folder: Path) -> None:
    reference = Folder(str(folder))
    names = [picture.key.rpartition("@")[0] for picture in reference.pictures()]
    assert names == [f"reference/{name}" for name in ("0.png", "2.png", "4.png", "deep/1.png", "deep/3.png")]
    assert reference.texts() == ("a dog", "a cat", "a red bird", "a fish")
    (folder / "other.txt").write_text("a house\n", encoding="utf-8")
    assert Folder(str(folder), str(folder / "other.txt")).texts() == ("a house",)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are no pictures below"):
        Folder(str(tmp_path)).pictures()
    with pytest.raises(ValueError, match=r"there is no file of texts .*captions\.txt"):
        Folder(str(tmp_path)).texts()
