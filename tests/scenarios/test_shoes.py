"""Shoes, read from a folder in its official layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clplat.errors import UserError
from clplat.testing import ScenarioContract
from clplat.testing.twins import shoes
from scenarios.shoes import Shoes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shoes(tmp_path_factory.mktemp("shoes"))


class TestShoes(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: Path) -> None:
        self.root = root

    def make(self) -> Shoes:
        return Shoes(str(self.root))


def test_queries_belong_to_the_list_that_holds_both_pictures(root: Path) -> None:
    stream = Shoes(str(root))
    (domain,), _ = stream.build()
    entries = json.loads((root / "relative_captions_shoes.json").read_text())
    lists = [(root / name).read_text().split() for name in ("train_im_names.txt", "eval_im_names.txt")]
    learnt, asked = ([e for e in entries if e["ImageName"] in held] for held in lists)
    assert [e.target.key for e in domain.train] == [f"shoes/{e['ImageName']}" for e in learnt]
    assert [q.targets for q in domain.test.queries] == [(f"shoes/{e['ImageName']}",) for e in asked]
    assert [q.text for q in domain.test.queries] == [e["RelativeCaption"].strip() for e in asked]
    assert [item.key for item in domain.test.gallery.items] == [f"shoes/{name}" for name in lists[1]]
    assert {q.tags["category"] for q in domain.test.queries} <= {"clogs", "athletic shoes", "rain boots"}
    assert stream.remarks == [
        "this is not the whole published benchmark: train/queries 10 of 8,990, test/queries 10 of 1,761, "
        "train/pictures 24 of 10,000, ... 4 counts in all"
    ]


def test_whether_the_reference_is_ranked_is_part_of_the_name(root: Path) -> None:
    for how, excluded in (("excluded", True), ("kept", False)):
        protocol = Shoes(str(root), reference=how).build()[0][0].test.protocol  # type: ignore[arg-type]
        assert (protocol.name, protocol.exclude_reference) == (f"shoes/reference-{how}", excluded)


def test_pictures_may_lie_anywhere_below_the_root(root: Path, tmp_path: Path) -> None:
    for path in root.glob("womens_*/*/*.jpg"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert Shoes(str(root), images=str(tmp_path)).fingerprint() == Shoes(str(root)).fingerprint()


def test_a_query_across_the_lists_is_refused(root: Path, tmp_path: Path) -> None:
    twin = shoes(tmp_path)
    path = twin / "relative_captions_shoes.json"
    entries = json.loads(path.read_text())
    entries[3]["ImageName"] = "img_womens_clogs_999.jpg"
    path.write_text(json.dumps(entries))
    with pytest.raises(UserError, match=r"entry 3: img_womens_.* are not in one of train_im_names.txt"):
        Shoes(str(twin)).build()
