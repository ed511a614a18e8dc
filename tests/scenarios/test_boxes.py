"""Open Images' boxes as crops: which are used, how they are cut, and class-incremental domains."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from clplat.config.recipes import recipe
from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.testing import ScenarioContract, twins
from scenarios.boxes import Boxes

CLASSES = ["Dog", "Cat", "Car", "Chair"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(twins.boxes(tmp_path_factory.mktemp("boxes")))


class TestBoxes(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: str) -> None:
        self.root = root

    def make(self) -> Boxes:
        return Boxes(self.root, CLASSES)


def test_crops_are_the_boxes_of_the_table_without_groups_and_slivers(root: str) -> None:
    domains, _ = Boxes(root, CLASSES).build()
    names = dict(zip((f"/m/0{i}" for i in range(4)), ("dog", "cat", "car", "chair"), strict=True))
    with (Path(root) / "test-annotations-bbox.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["IsGroupOf"] == "0" and row["XMax"] != "0.12"]
    sides = ("XMin", "YMin", "XMax", "YMax")
    boxes = [",".join(f"{float(row[side]):.4f}" for side in sides) for row in rows]
    wanted = {
        (f"boxes/test/{row['ImageID']}@{box}", f"boxes/{names[row['LabelName']]}")
        for row, box in zip(rows, boxes, strict=True)
    }
    assert {(q.id, q.targets[0]) for d in domains for q in d.test.queries} == wanted
    picture = domains[0].test.queries[0].reference
    assert picture is not None and picture.load().size in {(13, 26), (14, 26), (15, 26)}


def test_the_published_stream_and_a_part_of_the_pictures(tmp_path: Path) -> None:
    config = dict(recipe("open_images").config["scenario"]) | {"root": str(tmp_path)}
    twins.boxes(tmp_path, config["classes"], each=4)
    next((tmp_path / "train").iterdir()).unlink()
    with pytest.raises(
        UserError, match=r"boxes: 1 pictures with boxes are missing: boxes/train/.*missing declare"
    ):
        resolve({"scenario": config}).make("scenario").build()
    scenario = resolve({"scenario": config | {"missing": "declare"}}).make("scenario")
    assert len(scenario.build()[0]) == 4
    assert scenario.remarks[1].startswith("1 pictures with boxes are missing: boxes/train/")
    with pytest.raises(UserError, match="unknown class of Open Images 'Dogg'; did you mean 'Dog'"):
        Boxes(str(tmp_path), ["Dogg", "Cat"]).build()
    (tmp_path / "test-annotations-bbox.csv").write_text("ImageID,XMin\n")
    with pytest.raises(UserError, match="has no column LabelName"):
        Boxes(str(tmp_path), ["Dog", "Cat"]).build()
