"""Captioned files as a zero-shot probe: NegBench's tables, and several captions per picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from clplat.config.recipes import recipe
from clplat.errors import UserError
from clplat.testing import ProbesContract, twins
from scenarios.probes.retrieval import Retrieval

NEGBENCH = """filepath,image_id,captions
data/coco/val2017/coco_00000.jpg,1,"['a red disc', ""it's a disc, no square""]"
data/coco/val2017/coco_00001.jpg,2,"['a green disc']"
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return twins.captioned(tmp_path_factory.mktemp("retrieval"), "coco")


class TestRetrieval(ProbesContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: Path) -> None:
        self.root = root

    def make(self) -> Retrieval:
        return Retrieval({"coco": str(self.root / "coco/dataset_coco.json")}, str(self.root / "coco"))


def test_negbenchs_tables_are_lists_in_cells(root: Path, tmp_path: Path) -> None:
    config = recipe("negbench_retrieval").config["probes"]
    files = {}
    for name, path in config["files"].items():
        files[name] = str(tmp_path / Path(path).name)
        Path(files[name]).write_text(NEGBENCH, encoding="utf-8")
    one, two = Retrieval(files, str(root / "coco/images"), bare=config["bare"]).build()
    assert (one.name, two.name) == ("retrieval/coco", "retrieval/negated")
    assert one.texts == ("a red disc", "it's a disc, no square", "a green disc")
    assert one.owners == (0, 0, 1)  # type: ignore[attr-defined]
    assert [picture.key for picture in one.pictures] == [
        "retrieval/coco_00000.jpg",
        "retrieval/coco_00001.jpg",
    ]


def test_what_is_not_there_is_named(root: Path) -> None:
    files = {"coco": str(root / "coco/dataset_coco.json")}
    with pytest.raises(UserError, match=r"4 pictures are not in .*: retrieval/images/coco_00003\.jpg"):
        Retrieval(files, str(root / "coco/images")).build()
    with pytest.raises(UserError, match="has no picture in split 'text'"):
        Retrieval(files, str(root / "coco"), split="text").build()
