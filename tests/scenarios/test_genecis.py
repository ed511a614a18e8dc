"""GeneCIS: candidates of each template's own, crops made once, and no place that is the target's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from clplat.errors import UserError
from clplat.evaluation.asked import asked, measure
from clplat.testing import ScenarioContract
from clplat.testing.twins import genecis
from scenarios._genecis import crop
from scenarios.genecis import GeneCIS


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(genecis(tmp_path_factory.mktemp("genecis")))


class TestGeneCIS(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: str) -> None:
        self.root = root

    def make(self) -> GeneCIS:
        return GeneCIS(self.root)


def key(shown: dict[str, Any]) -> str:
    if "val_image_id" in shown:
        return f"coco-val2017/{shown['val_image_id']:012d}.jpg"
    return f"visual-genome/{shown['image_id']}.jpg@{','.join(map(str, shown['instance_bbox']))}"


def test_numbers_are_those_of_the_public_code(root: str) -> None:
    """A stack of the target and the others for each template, sorted by similarity."""
    for seed, domain in enumerate(GeneCIS(root).build()[0]):
        held, draw = domain.test, torch.Generator().manual_seed(seed)
        queries = torch.randn(6, 5, generator=draw)
        gallery = normalize(torch.randn(len(held.gallery.items), 5, generator=draw), dim=1)
        row = {item.key: gallery[i].double() for i, item in enumerate(held.gallery.items)}
        values = measure(held, asked(held), queries, gallery).values
        templates = json.loads((Path(root) / f"genecis/{domain.name}.json").read_text())
        for k in (1, 2, 3):
            hits = []
            for template, query in zip(templates, queries.double(), strict=True):
                stack = torch.stack([row[key(one)] for one in (template["target"], *template["gallery"])])
                hits.append(0 in (stack @ query).argsort(descending=True)[:k].tolist())
            wanted = sum(hits) / len(hits)
            assert values[f"R_sub@{k}"].mean().item() == pytest.approx(wanted, abs=1e-8)


def test_a_model_that_tells_nothing_apart_finds_nothing(root: str) -> None:
    for domain in GeneCIS(root).build()[0]:
        held = domain.test
        same = torch.ones(len(held.gallery.items), 4)
        values = measure(held, asked(held), torch.ones(len(held.queries), 4), same).values
        assert values["R_sub@3"].sum() == 0, "a target is given away by its place"
        assert {len(query.candidates or ()) for query in held.queries} == {
            10 if domain.name == "focus_attribute" else 15
        }


def test_a_crop_is_made_once_for_a_picture_and_a_box(root: str, tmp_path: Path) -> None:
    first, second, *_ = GeneCIS(root).build()[0]
    shown = {p.key: p for domain in (first, second) for p in domain.test.gallery.pictures}
    assert all(shown[p.key] is p for domain in (first, second) for p in domain.test.gallery.pictures)
    picture = Image.fromarray(np.arange(40 * 30 * 3, dtype=np.uint32).reshape(30, 40, 3).astype(np.uint8))
    # 5 wide and 10 high at (10, 2): from x 6.5 to 15 and y 0 to 17, rounded to even halves, on black.
    found = np.asarray(crop(picture, (10, 2, 5, 10)))
    assert found.shape == (17, 17, 3)
    assert (found[:, 4:13] == np.asarray(picture)[0:17, 6:15]).all()
    assert (found[:, :4] == 0).all() and (found[:, 13:] == 0).all()


def test_a_missing_picture_takes_all_its_crops_along(tmp_path: Path) -> None:
    folder = genecis(tmp_path)
    (folder / "VG_100K_all/3.jpg").unlink()
    with pytest.raises(UserError, match=r"pictures are missing: visual-genome/3\.jpg@"):
        GeneCIS(str(folder), ["change_attribute"]).build()
    left = GeneCIS(str(folder), ["change_attribute"], missing="declare")
    assert all("/3.jpg" not in item.key for item in left.build()[0][0].test.gallery.items)
    with pytest.raises(ValueError, match="order must be some of focus_attribute"):
        GeneCIS(str(folder), ["focus"])


@pytest.mark.parametrize(
    ("task", "spoil", "message"),
    [
        ("focus_attribute", lambda t: t.pop("condition"), "it lacks '1.condition'"),
        ("focus_attribute", lambda t: t["target"].pop("instance_bbox"), "entry 1: each picture needs"),
        ("change_object", lambda t: t["gallery"][0].clear(), "entry 1: each picture needs val_image_id"),
    ],
)
def test_bad_templates_are_refused_with_the_place(
    tmp_path: Path, task: str, spoil: Callable[[Any], Any], message: str
) -> None:
    path = genecis(tmp_path) / f"genecis/{task}.json"
    held = json.loads(path.read_text())
    spoil(held[1])
    path.write_text(json.dumps(held))
    with pytest.raises(UserError, match=message):
        GeneCIS(str(tmp_path), [task]).build()
