"""FashionIQ as its annotations say, and its numbers as the public code makes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.data.records import RetrievalSet
from clplat.errors import UserError
from clplat.evaluation.asked import asked, measure
from clplat.testing import ScenarioContract
from clplat.testing.twins import fashioniq
from scenarios.fashioniq import FashionIQ


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(fashioniq(tmp_path_factory.mktemp("fashioniq")))


class TestFashionIQ(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, root: str) -> None:
        self.root = root

    def make(self) -> FashionIQ:
        return FashionIQ(self.root)


def recalls(held: RetrievalSet, queries: Tensor, gallery: Tensor) -> dict[str, float]:
    """As the public codes measure: sort all names by distance, look for the target's among the first."""
    names = [item.key for item in held.gallery.items]
    places = []
    for query, row in zip(held.queries, queries.double(), strict=True):
        order = torch.argsort(1 - gallery.double() @ row, stable=True).tolist()
        places.append([names[i] for i in order].index(query.targets[0]))
    return {f"R@{k}": 100 * sum(place < k for place in places) / len(places) for k in (10, 50)}


def drawn(held: RetrievalSet, seed: int, width: int = 8) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    rows = torch.randn(len(held.queries), width, generator=draw)
    return rows, torch.randn(len(held.gallery.items), width, generator=draw)


def measured(held: RetrievalSet, queries: Tensor, gallery: Tensor) -> dict[str, float]:
    values = measure(held, asked(held), queries, gallery).values
    return {name: 100 * values[name].mean().item() for name in ("R@10", "R@50", held.protocol.primary)}


@pytest.mark.parametrize("gallery", ["original", "val"])
def test_numbers_are_those_of_the_public_code(root: str, gallery: Any) -> None:
    for seed, domain in enumerate(FashionIQ(root, gallery=gallery).build()[0]):
        rows = drawn(domain.val, seed)
        found, wanted = measured(domain.val, *rows), recalls(domain.val, *rows)
        assert found == pytest.approx(wanted | {"mean(R@10, R@50)": sum(wanted.values()) / 2}, abs=1e-6)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory, shared_data: Callable[[str], Path]) -> str:
    """The official annotations, and an empty file for each of the 74,381 pictures."""
    source = shared_data("fashioniq")
    folder = tmp_path_factory.mktemp("official")
    for part in ("captions", "image_splits"):
        (folder / part).symlink_to(source / part)
    (folder / "images").mkdir()
    lists = sorted((source / "image_splits").glob("split.*.json"))
    names = {name for path in lists for name in json.loads(path.read_text())}
    assert len(names) == 74381
    for name in names:
        os.close(os.open(folder / "images" / f"{name}.jpg", os.O_CREAT))
    return str(folder)


#: Of every category: triplets to train on, and to test on; queries; pictures of the two galleries.
OFFICIAL = {
    "dress": (5985, 2024, 2017, 3817, 2628),
    "shirt": (5988, 2038, 2038, 6346, 3089),
    "toptee": (6027, 2056, 1961, 5373, 2902),
}


def all_recalls(held: RetrievalSet, queries: Tensor, gallery: Tensor) -> dict[str, float]:
    """As `recalls`, all queries at once: a place is the number of names that stand before the target's."""
    place = {item.key: i for i, item in enumerate(held.gallery.items)}
    targets = torch.tensor([place[query.targets[0]] for query in held.queries])[:, None]
    distances = 1 - queries.double() @ gallery.double().T
    own = distances.gather(1, targets)
    earlier = torch.arange(len(place)) < targets
    places = ((distances < own) | (distances == own) & earlier).sum(1)
    return {f"R@{k}": 100 * (places < k).double().mean().item() for k in (10, 50)}


@pytest.mark.slow
def test_the_official_files_hold_what_was_published(official: str) -> None:
    scenario = FashionIQ(official, also=["val/searle", "original/separate"], hidden=True)
    domains = scenario.build()[0]
    assert scenario.report["counts"] == scenario.published
    assert scenario.remarks == ["817 training pictures stand in the gallery of another category"]
    for seed, domain in enumerate(domains):
        train, test, queries, original, small = OFFICIAL[domain.name]
        assert (len(domain.train), len(domain.test.queries)) == (train, test)
        assert scenario.published[f"{domain.name}/train/queries"] == train
        sizes = {name: (len(held.queries), len(held.gallery.items)) for name, held in domain.sets.items()}
        assert sizes["val"] == (queries, original) and sizes["val/val-searle"] == (queries, small)
        said = 2 * queries - {"dress": 0, "shirt": 1, "toptee": 2}[domain.name]  # captions that are empty
        assert sizes["val/original-separate"] == (said, original) and domain.test.labels == "hidden"
        for held in (domain.val, domain.sets["val/val-searle"]):
            rows = drawn(held, seed)
            found, wanted = measured(held, *rows), all_recalls(held, *rows)
            assert found == pytest.approx(wanted | {"mean(R@10, R@50)": sum(wanted.values()) / 2}, abs=1e-6)


@pytest.mark.parametrize(
    ("join", "said"),
    [
        ("clip4cir", [("Is red and has a disc on it",)]),
        ("searle", [("is red and has a disc on it", "has a disc on it and is red")]),
        ("pic2word", [("has a disc on it and is red.",)]),
        ("separate", [("is red.",), ("has a disc on it",)]),
    ],
)
def test_captions_are_joined_as_each_code_does(root: str, join: Any, said: list[tuple[str, ...]]) -> None:
    domains = FashionIQ(root, captions=join).build()[0]
    with_captions = json.loads((Path(root) / "captions/cap.dress.val.json").read_text())
    wanted = [
        tuple(
            text.replace("red", e["captions"][0][3:-1]).replace("disc", e["captions"][1].split()[2])
            for text in texts
        )
        for e in with_captions
        for texts in said
    ]
    assert [query.said for query in domains[0].val.queries] == wanted
    assert domains[0].val.protocol.name == f"fashioniq-original/{join}"
    assert not domains[0].val.protocol.exclude_reference
    drawn = domains[0].train[0].extra.get("phrasings", [])
    assert len(drawn) == {"clip4cir": 4, "searle": 2}.get(join, 0)


def test_all_categories_as_one_domain_train_on_nothing_that_is_asked_for(root: str) -> None:
    apart, one = FashionIQ(root), FashionIQ(root, domains="one", also=["val/searle"])
    [domain] = one.build()[0]
    assert apart.remarks[0] == "1 training pictures stand in the gallery of another category"
    assert "training triplets are left out" in one.remarks[0]
    assert 24 < len(domain.train) < 36
    assert len(domain.val.queries) == 18 and len(domain.val.gallery.items) == 49
    assert domain.val.protocol.name == "fashioniq-original-union/clip4cir"
    for name, alone in zip(apart.order, apart.build()[0], strict=True):
        assert domain.sets[f"val/{name}"] == alone.val
    assert "val/shirt/val-searle" in domain.sets


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        ("captions/cap.dress.val.json", lambda held: held[2].pop("captions"), "it lacks '2.captions'"),
        ("captions/cap.dress.val.json", lambda held: held[2].pop("target"), "entry 2: a target belongs to"),
        ("captions/cap.dress.val.json", lambda held: held[2]["captions"].pop(), "entry 2: it has 1 captions"),
        ("captions/cap.dress.val.json", lambda held: held[1].update(targt="x"), "'1.targt' Extra inputs"),
        (
            "captions/cap.dress.val.json",
            lambda held: held[1].update(target="lost"),
            "'dress/val/00001' has no",
        ),
        ("image_splits/split.dress.val.json", lambda held: held.append(held[0]), "once is allowed"),
        ("image_splits/split.dress.val.json", lambda held: held.append(7), "'16' should be a valid string"),
    ],
)
def test_bad_files_are_refused_with_the_place(
    tmp_path: Path, file: str, spoil: Callable[[Any], Any], message: str
) -> None:
    path = fashioniq(tmp_path) / file
    held = json.loads(path.read_text())
    spoil(held)
    path.write_text(json.dumps(held))
    with pytest.raises(UserError, match=message) as error:
        FashionIQ(str(tmp_path)).build()
    assert "\n" not in str(error.value)
    path.write_text("[{")
    with pytest.raises(UserError, match=f"{path.name} is no JSON"):
        FashionIQ(str(tmp_path)).build()


def test_a_copy_of_a_part_is_used_and_said(root: str, tmp_path: Path) -> None:
    assert "not the whole published benchmark: dress/train/queries 12 of 5,985" in FashionIQ(root).remarks[1]
    folder = fashioniq(tmp_path)
    next((folder / "images").glob("BDVA00003.*")).unlink()
    with pytest.raises(UserError, match=r"1 of .* pictures are missing: fashioniq/BDVA00003"):
        FashionIQ(str(folder)).build()
    declared = FashionIQ(str(folder), missing="declare")
    assert "fashioniq/BDVA00003" in declared.remarks[-1]
    assert declared.report["missing"]["lost"]["dress/val"]["gallery"] == 1
    with pytest.raises(ValueError, match="unknown or repeated protocol 'val/serle'"):
        FashionIQ(root, also=["val/serle"])
