"""NegBench from a small table in its own format."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from clplat.errors import UserError
from clplat.parts.probes import NegBench
from clplat.testing import ProbesContract

TABLE = """correct_answer,caption_0,caption_1,caption_2,caption_3,correct_answer_template,image_path
1,a red square,a square but no circle,no square,a circle,hybrid,data/coco/val2017/a.jpg
0,no circle,no square,a circle,a circle but no square,negative,data/coco/val2017/b.jpg
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "COCO_val_mcq.csv").write_text(TABLE, encoding="utf-8")
    (tmp_path / "val2017").mkdir()
    for name in "ab":
        Image.new("RGB", (20, 20), "red").save(tmp_path / "val2017" / f"{name}.jpg")
    return str(tmp_path / "COCO_val_mcq.csv"), str(tmp_path / "val2017")


class TestNegBench(ProbesContract):
    @pytest.fixture(autouse=True)
    def _files(self, files: tuple[str, str]) -> None:
        self.files = files

    def make(self) -> NegBench:
        return NegBench(*self.files)


def test_a_row_is_a_question(files: tuple[str, str]) -> None:
    probe = NegBench(*files)
    assert probe.name == "negbench/COCO_val_mcq" and probe.group == "composition"
    assert [case.right for case in probe.cases] == [("a square but no circle",), ("no circle",)]
    assert probe.cases[0].wrong == ("a red square", "no square", "a circle")
    assert [case.kind for case in probe.cases] == ["hybrid", "negative"]


def test_what_is_not_of_the_format_is_named(files: tuple[str, str]) -> None:
    file, folder = files
    with pytest.raises(ValueError, match="there is no file"):
        NegBench("nothing.csv", folder)
    Path(folder, "b.jpg").unlink()
    with pytest.raises(UserError, match=r"b\.jpg, which is not there"):
        NegBench(file, folder).build()
    Path(file).write_text(TABLE.replace("\n0,", "\n4,"), encoding="utf-8")
    with pytest.raises(ValueError, match="row 1 has no caption 4"):
        NegBench(file, folder)
    Path(file).write_text(TABLE.replace("image_path", "picture"), encoding="utf-8")
    with pytest.raises(ValueError, match="row 0 has no image_path"):
        NegBench(file, folder)
