"""Data types: the same picture, changed, among all pictures in all types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clplat.config.recipes import recipe
from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.testing import ScenarioContract, twins
from scenarios._changes.operations import OPERATIONS
from scenarios.data_types import DataTypes


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(twins.classification(tmp_path_factory.mktemp("types"), ["pets", "dtd"], each=4))


class TestDataTypes(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: str) -> None:
        self.root = root

    def make(self) -> DataTypes:
        return DataTypes(
            self.root, "dtd", ["left_rotate", "gaussian_noise", "jpeg_compress"], train=6, queries=4
        )


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_changes_a_picture_the_same_way_twice(name: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    one, two = (OPERATIONS[name].apply(Image.fromarray(pixels), 7).convert("RGB") for _ in range(2))
    assert one.tobytes() == two.tobytes() and min(one.size) >= 16
    assert one.size != (32, 24) or np.asarray(one).tobytes() != pixels.tobytes()


def test_rotations_and_flips_are_those_of_numpy() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    for name, wanted in (
        ("left_rotate", np.rot90(pixels)),
        ("right_rotate", np.rot90(pixels, -1)),
        ("vertical_flip", pixels[::-1]),
    ):
        assert np.array_equal(np.asarray(OPERATIONS[name].apply(Image.fromarray(pixels), 0)), wanted), name


def test_every_type_of_a_picture_is_in_the_gallery_and_one_answers(root: str) -> None:
    config = dict(recipe("data_types").config["scenario"]) | {"root": root, "train": 5, "queries": 4}
    scenario = resolve({"scenario": config}).make("scenario")
    domains, _ = scenario.build()
    assert [domain.name for domain in domains] == list(OPERATIONS)
    assert len(domains[0].test.gallery.items) == 4 * (1 + len(OPERATIONS))
    for domain in domains:
        for query in domain.test.queries:
            assert query.reference is not None
            assert query.targets == (f"{query.reference.key}~{domain.name}",)
        assert len(domain.train) == 5
        assert {q.targets for q in domain.sets["test/identify"].queries} == {(domain.name,)}
    picture = domains[0].test.queries[0].reference
    assert picture is not None
    item = next(i for i in domains[0].test.gallery.items if i.key == f"{picture.key}~left_rotate")
    assert item.picture is not None
    assert np.array_equal(np.asarray(item.picture.load()), np.rot90(np.asarray(picture.load())))


def test_a_missing_picture_is_refused_or_declared_in_every_type(tmp_path: Path) -> None:
    root = twins.classification(tmp_path, ["dtd"], each=2)
    next((root / "dtd/dtd/images/banded").glob("banded_02*.jpg")).unlink()
    types = ["left_rotate", "defocus_blur"]
    with pytest.raises(UserError, match="data_types: 3 of 54 pictures are missing: data-types/dtd"):
        DataTypes(str(root), "dtd", types).build()
    declared = DataTypes(str(root), "dtd", types, missing="declare")
    assert [len(domain.test.queries) for domain in declared.build()[0]] == [5, 5]
    assert "3 of 54 pictures are missing" in declared.remarks[1]
