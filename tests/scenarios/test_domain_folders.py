"""The stream of picture folders: complete right answers, no future in training, one test in any order."""

from __future__ import annotations

import io
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clplat.data.folders import split_of
from clplat.data.records import Domain
from clplat.data.validate import validate_domain
from clplat.errors import UserError
from clplat.parts import ClassificationProbe
from clplat.testing import ScenarioContract
from scenarios.domain_folders import DomainFolders

DOMAINS = ["art_painting", "photo", "sketch"]
CLASSES = ["cat", "dog", "elephant"]


def make_tree(root: Path, counts: dict[tuple[str, str], int]) -> str:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "PNG")
    for (domain, category), count in counts.items():
        folder = root / domain / category
        folder.mkdir(parents=True)
        for i in range(count):
            (folder / f"{i:03d}.png").write_bytes(file.getvalue())
    return str(root)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    counts = {(domain, category): 30 for domain in DOMAINS for category in CLASSES}
    counts["sketch", "horse"] = 20  # a class that one domain alone has
    return make_tree(tmp_path_factory.mktemp("tree"), counts)


@pytest.fixture(scope="module")
def coloured(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two domains of two classes, thirty pictures each."""
    root = tmp_path_factory.mktemp("coloured")
    for domain, ground in (("photo", "white"), ("sketch", "black")):
        for category, colour in (("cat", "red"), ("dog", "blue")):
            folder = root / domain / category
            folder.mkdir(parents=True)
            for i in range(30):
                picture = Image.new("RGB", (16, 16), ground)
                picture.paste(colour, (i % 8, 2, i % 8 + 6, 10 + i % 5))
                picture.save(folder / f"{i:02d}.png")
    return str(root)


class TestDomainFolders(ScenarioContract):
    @pytest.fixture(autouse=True)
    def _root(self, coloured: str) -> None:
        self.root = coloured

    def make(self) -> DomainFolders:
        return DomainFolders(self.root, train=12, queries=10)


def test_a_folder_tree_may_lie_anywhere(coloured: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / Path(coloured).name
    Path(coloured).rename(elsewhere)
    try:
        moved = DomainFolders(str(elsewhere), train=12, queries=10).fingerprint()
    finally:
        elsewhere.rename(coloured)
    assert moved == DomainFolders(coloured, train=12, queries=10).fingerprint()


def small(root: str, order: list[str] | None = None, **settings: object) -> DomainFolders:
    return DomainFolders(root, order, **{"train": 60, "queries": 24, **settings})  # type: ignore[arg-type]


def place(key: str) -> tuple[str, str, str]:
    """Domain, class and split of a picture, from its key."""
    relative = key.rpartition("@")[0]
    domain, category, _ = relative.split("/")
    return domain, category, split_of(relative)


def check(domains: list[Domain]) -> None:
    """What must hold for any stream of folders, told again from the keys alone."""
    earlier: set[str] = set()
    for domain in domains:
        validate_domain(domain)
        for triplet in domain.train:
            source, shown, split = place(triplet.reference.key)
            where, wanted, target_split = place(triplet.target.key)
            assert (split, target_split, where) == ("train", "train", domain.name)
            assert triplet.label == f"{domain.name}/{wanted}"
            if source == domain.name:
                assert shown != wanted and wanted in triplet.text
            else:
                assert shown == wanted and source in earlier, "a picture from the future"
                assert domain.name.replace("_", " ") in triplet.text
        for split, part in (("val", domain.val), ("test", domain.test)):
            assert all(place(picture.key)[2] == split for picture in part.gallery.pictures)
            there = {picture.key for picture in part.gallery.pictures}
            for query in part.queries:
                source, shown, _ = place(query.reference.key)
                (where, wanted), *others = {place(key)[:2] for key in query.targets}
                assert where == domain.name and not others
                right = {key for key in there if place(key)[:2] == (where, wanted)}
                assert set(query.targets) == right, "right answers are complete"
                assert query.reference.key in there - right
                assert query.tags == {"change": "class" if source == domain.name else "domain"}
                assert (shown == wanted) == (query.tags["change"] == "domain")
                assert (wanted if shown != wanted else where.replace("_", " ")) in query.text
        earlier.add(domain.name)


def test_the_stream_is_what_it_says(root: str) -> None:
    scenario = small(root, ["photo", "sketch", "art_painting"])
    domains, probes = scenario.build()
    check(domains)
    assert [domain.name for domain in domains] == ["photo", "sketch", "art_painting"] and probes == []
    assert [len(domain.train) for domain in domains] == [60] * 3
    first, *later = domains
    assert all(triplet.reference.key.startswith("photo/") for triplet in first.train)
    for domain in later:
        from_earlier = sum(not t.reference.key.startswith(domain.name) for t in domain.train)
        assert 15 < from_earlier < 45
    assert len({id(domain.test.gallery) for domain in domains}) == 1, "encoded once"
    for domain in domains:
        kinds = [query.tags["change"] for query in domain.test.queries]
        assert kinds.count("class") == kinds.count("domain") == 12
        assert domain.test.protocol.name == "domain-folders/all-domains"
        assert len({query.text for query in domain.test.queries}) > 6
    assert not any("/horse" in query.id for domain in (first, later[1]) for query in domain.test.queries)
    assert "show it as an art painting" in {t.text for t in later[1].train}


def test_queries_and_galleries_are_the_same_in_every_order(root: str) -> None:
    wanted = {domain.name: (domain.val, domain.test) for domain in small(root).build()[0]}
    for number, order in enumerate(itertools.permutations(DOMAINS)):
        domains, _ = small(root, list(order), seed=number, train=10 + number).build()
        check(domains)
        assert {domain.name: (domain.val, domain.test) for domain in domains} == wanted


def test_the_seed_draws_the_training_triplets_alone(root: str) -> None:
    one, same, other = (small(root, seed=seed) for seed in (None, 0, 1))
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert one.build()[0] == same.build()[0]
    for a, b in zip(one.build()[0], other.build()[0], strict=True):
        assert a.train != b.train and (a.val, a.test) == (b.val, b.test)


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 24), min_size=9, max_size=9),
    gallery=st.none() | st.integers(9, 40),
    queries=st.integers(1, 12),
    pick=st.randoms(use_true_random=False),
)
def test_any_tree_gives_a_right_stream_or_one_clear_line(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    gallery: int | None,
    queries: int,
    pick: random.Random,
) -> None:
    cells = zip(itertools.product(DOMAINS, CLASSES), sizes, strict=True)
    counts = {cell: size for cell, size in cells if size > 4}
    root = make_tree(tmp_path_factory.mktemp("any"), counts)
    order = sorted({domain for domain, _ in counts})
    pick.shuffle(order)
    try:
        domains, _ = DomainFolders(root, order, train=20, queries=queries, gallery=gallery).build()
    except (ValueError, UserError) as error:
        assert "\n" not in str(error)
        return
    check(domains)
    for domain in domains:
        assert 1 <= len(domain.test.queries) <= queries
        assert gallery is None or len(domain.test.gallery.pictures) <= gallery


def test_a_capped_gallery_is_balanced(root: str) -> None:
    everything = small(root).build()[0][0].test.gallery
    capped = small(root, gallery=30).build()[0][0].test.gallery
    assert len(capped.pictures) == 30 and set(capped.pictures) < set(everything.pictures)
    assert capped.name != everything.name
    counts = [
        sum(place(p.key)[:2] == cell for p in capped.pictures) for cell in itertools.product(DOMAINS, CLASSES)
    ]
    assert max(counts) - min(counts) <= 1
    with pytest.raises(UserError, match="gallery 5 is too small for 10 domains x classes"):
        small(root, gallery=5).build()


def test_a_held_out_domain_is_a_probe_and_nothing_else(root: str) -> None:
    domains, (probe,) = small(root, holdout="sketch").build()
    assert [domain.name for domain in domains] == ["art_painting", "photo"]
    keys = {p.key for d in domains for p in (*d.anchors, *d.val.gallery.pictures, *d.test.gallery.pictures)}
    assert not any(key.startswith("sketch/") for key in keys)
    assert isinstance(probe, ClassificationProbe) and probe.texts[2] == "a picture of an elephant"
    for picture, label in zip(probe.pictures, probe.labels, strict=True):
        domain, category, split = place(picture.key)
        assert (domain, split) == ("sketch", "test")
        assert probe.texts[label].endswith(category)


def test_captions_for_pretraining(root: str) -> None:
    pictures = small(root, ["photo", "sketch"]).captioned(domains=["photo", "art_painting"])
    captions = {picture.caption for picture in pictures}
    assert {"a photo of a dog", "an art painting showing an elephant"} <= captions and len(captions) > 12
    assert all(place(picture.key)[2] == "train" for picture in pictures)
    worded = small(root, words={"photo": "real photo", "cat": "kitten"})
    assert "a real photo of a kitten" in {picture.caption for picture in worded.captioned()}
    assert any("kitten" in query.text for query in worded.build()[0][0].test.queries)


def test_bad_pictures_are_declared(root: str, tmp_path: Path) -> None:
    counts = {(domain, category): 20 for domain in DOMAINS for category in CLASSES}
    spoiled = Path(make_tree(tmp_path / "spoiled", counts))
    (spoiled / "photo/cat/003.png").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"1 of 180 pictures .*photo/cat/003.png.*--scenario.bad_pictures drop"
    ):
        small(str(spoiled)).build()
    scenario = small(str(spoiled), bad_pictures="drop")
    check(scenario.build()[0])
    assert len(small(str(spoiled)).captioned(domains=["sketch"])) > 20, "bad pictures elsewhere do not matter"
    assert scenario.report["dropped"] == {"count": 1, "files": ["photo/cat/003.png"]}
    assert scenario.report["made"]["photo"] == {"train": 60, "val": 24, "test": 24}
    json.dumps(scenario.report)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": ["photo", "skech"]}, "unknown domain 'skech'; did you mean 'sketch'"),
        ({"holdout": "foto"}, "unknown domain 'foto'; did you mean 'photo'"),
        ({"classes": ["cat", "dgo"]}, "unknown class 'dgo'; did you mean 'dog'"),
        ({"words": {"phto": "photograph"}}, "did you mean 'photo'"),
    ],
)
def test_mistakes_get_one_clear_line(root: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(root, **arguments).build()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": ["photo", "photo"]}, "order must name each domain once"),
        ({"order": []}, "order must name each domain once"),
        ({"order": ["photo"], "holdout": "photo"}, "holdout 'photo' cannot be in order"),
        ({"queries": 0}, "queries must be at least 1, not 0"),
    ],
)
def test_bad_values_get_one_clear_line(root: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(root, **arguments)  # type: ignore[arg-type]


def test_one_domain_alone_is_a_stream_of_class_changes(root: str) -> None:
    ((domain,), _) = small(root, ["photo"]).build()
    check([domain])
    assert {query.tags["change"] for query in domain.test.queries} == {"class"}
    assert len(domain.test.queries) == 24


def test_too_few_pictures_are_named(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "tiny", {("photo", "cat"): 1, ("photo", "dog"): 1})
    with pytest.raises(UserError, match=r"domain 'photo' has too few pictures in its (val|test) split"):
        small(root).build()


@pytest.mark.slow
def test_pacs(pacs: Path) -> None:
    scenario = DomainFolders(str(pacs), ["photo", "art_painting", "cartoon", "sketch"], train=200, queries=40)
    domains, _ = scenario.build()
    check(domains)
    assert [len(domain.train) for domain in domains] == [200] * 4
    assert len(domains[0].test.gallery.pictures) == 2444
    assert domains[3].train[0].items[1].picture.load().size == (96, 96)
    assert len(scenario.captioned(domains=["photo"])) == 1000


@pytest.fixture
def pacs(shared_data: Callable[[str], Path]) -> Path:
    return shared_data("pacs")


def test_replaced_pictures_are_other_data(tmp_path: Path) -> None:
    """granny-smith#150: bitmaps of one size, replaced under the same names."""
    root = tmp_path / "tree"

    def draw(category: str, number: int, colour: str) -> None:
        folder = root / "photo" / category
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.new("RGB", (400, 400), "white")
        picture.paste(colour, (150, 150, 250 + number, 250))
        picture.save(folder / f"{number:02d}.bmp")

    for category in ("cat", "dog"):
        for number in range(12):
            draw(category, number, "red" if category == "cat" else "blue")
    before = DomainFolders(str(root), train=4, queries=2).fingerprint()
    assert DomainFolders(str(root), train=4, queries=2).fingerprint() == before
    for number in range(12):
        draw("cat", number, "green")
    assert DomainFolders(str(root), train=4, queries=2).fingerprint() != before
