"""True and false captions from SugarCrepe's files, ARO's and tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clplat.config.recipes import recipe
from clplat.errors import UserError
from clplat.testing import ProbesContract, twins
from scenarios.probes.choices import Choices


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return twins.sugarcrepe(tmp_path_factory.mktemp("choices"))


class TestChoices(ProbesContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: Path) -> None:
        self.root = root

    def make(self) -> Choices:
        files = {"swap_obj": str(self.root / "data/swap_obj.json")}
        return Choices(files, str(self.root / "val2017"), "sugarcrepe")


def test_the_published_suite_is_seven_files(root: Path) -> None:
    config = recipe("sugarcrepe").config["probes"]
    files = {name: str(root / "data" / Path(path).name) for name, path in config["files"].items()}
    probes = Choices(files, str(root / "val2017"), config["suite"]).build()
    assert len(probes) == 7 and probes[0].name == "sugarcrepe/add_att"
    assert list(Choices.published) == list(files) and sum(Choices.published.values()) == 7511
    case = probes[0].cases[1]  # type: ignore[attr-defined]
    assert (case.right, case.wrong) == (("a green disc",), ("a blue disc",))
    assert case.picture.key == "sugarcrepe/000000000001.jpg"


def test_lists_and_tables_are_read_and_bad_entries_named(root: Path, tmp_path: Path) -> None:
    aro = [{"image_path": "000000000000.jpg", "true_caption": "a", "false_caption": "b"}]
    (tmp_path / "aro.json").write_text(json.dumps(aro))
    (tmp_path / "mine.csv").write_text("picture,right,wrong,kind\n000000000000.jpg,a,b,colour\n")
    folder = str(root / "val2017")
    one, two = Choices(
        {"aro": str(tmp_path / "aro.json"), "mine": str(tmp_path / "mine.csv")}, folder
    ).build()
    assert [(c.right, c.wrong) for c in one.cases] == [(c.right, c.wrong) for c in two.cases]  # type: ignore[attr-defined]
    assert two.cases[0].kind == "colour"  # type: ignore[attr-defined]
    (tmp_path / "aro.json").write_text(json.dumps([*aro, {"image_path": "1.jpg", "true_caption": "a"}]))
    with pytest.raises(UserError, match=r"aro.json: entry 2 has no wrong \(usual: negative_caption"):
        Choices({"aro": str(tmp_path / "aro.json")}, folder).build()
    (tmp_path / "aro.json").write_text(json.dumps([{**aro[0], "image_path": "gone.jpg"}]))
    with pytest.raises(UserError, match=r"1 pictures are not in .*: choices/gone\.jpg"):
        Choices({"aro": str(tmp_path / "aro.json")}, folder).build()
