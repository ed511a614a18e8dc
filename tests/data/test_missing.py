"""Missing pictures: refused with what they take along, or left out, counted and named."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from clplat.data.missing import without_missing
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Candidate, Domain, Gallery, Protocol, Query, RetrievalSet, Triplet
from clplat.data.validate import validate_domain
from clplat.errors import UserError

NAMES = "abcdefgh"


def files(folder: Path, names: str = NAMES, ending: str = "jpg") -> PictureFiles:
    for name in names:
        Image.new("RGB", (8, 8), (ord(name), 0, 0)).save(folder / f"{name}.{ending}")
    return PictureFiles(folder, "made")


def stream(pictures: PictureFiles) -> list[Domain]:
    a, b, c, d, e, f, g, h = pictures.pictures(NAMES)
    train = [
        Triplet("0", a, "x", b, "b", "one", [Candidate(c, "c")]),
        Triplet("1", c, "x", b, "b", "one"),
    ]
    gallery = Gallery("all", [d, e, f, g, h])
    queries = (
        Query("0", d, "x", (e.key, f.key)),
        Query("1", e, "x", (d.key,), candidates=(d.key, e.key, f.key)),
        Query("2", f, "x", (g.key, h.key), main=g.key),
        Query("3", h, "x", (d.key,), exclude=(e.key, h.key)),
    )
    held = RetrievalSet(queries, gallery, Protocol("p", exclude_reference=False))
    return [Domain("one", train, sets={"test": held, "test/again": held})]


def test_nothing_changes_where_nothing_is_missing(tmp_path: Path) -> None:
    pictures = files(tmp_path)
    domains = stream(pictures)
    left, absent = without_missing(domains, pictures.absent, "refuse", "made")
    assert left == domains and left[0] is domains[0]
    assert absent.remarks == [] and absent.report["pictures"] == 0


def test_missing_pictures_are_refused_with_what_they_take_along(tmp_path: Path) -> None:
    pictures = files(tmp_path, "abdefgh")
    with pytest.raises(
        UserError, match=r"scenario made: 1 of 8 pictures are missing: made/c; they take with them: 1"
    ):
        without_missing(stream(pictures), pictures.absent, "refuse", "made")


@pytest.mark.parametrize(
    ("there", "lost"),
    [
        ("abdefgh", {"one/train": {"triplets": 1}}),  # c: a reference, and a negative of the other triplet
        ("acdefgh", None),  # b: the target of all
        ("abcdfgh", {"one/test": {"queries": 1, "answers": 1, "gallery": 1}}),  # e
        ("abcdefh", {"one/test": {"queries": 1, "gallery": 1}}),  # g: the main answer of query 2
        ("abcdefg", {"one/test": {"queries": 1, "answers": 1, "gallery": 1}}),  # h
    ],
)
def test_what_was_left_out_is_counted(tmp_path: Path, there: str, lost: dict[str, object] | None) -> None:
    pictures = files(tmp_path, there)
    left, absent = without_missing(stream(pictures), pictures.absent, "declare", "made")
    if lost is None:
        assert absent.report["lost"] == {"one/train": {"triplets": 2}} and left[0].train == []
        return
    twice = {f"{name}/again": counts for name, counts in lost.items() if name == "one/test"}
    assert absent.report["lost"] == lost | twice
    assert len(absent.remarks) == 1 and "1 of 8 pictures are missing" in absent.remarks[0]
    gone = set(pictures.absent)
    for example in left[0].train:
        assert gone.isdisjoint(item.key for item in example.items)
    for held in left[0].sets.values():
        assert gone.isdisjoint(item.key for item in held.gallery.items)
    assert left[0].test.gallery is left[0].sets["test/again"].gallery, "a shared gallery is embedded twice"
    validate_domain(left[0])


def test_a_set_without_queries_is_no_set(tmp_path: Path) -> None:
    pictures = files(tmp_path, "abcgh")
    with pytest.raises(UserError, match="no query is left in one/test"):
        without_missing(stream(pictures), pictures.absent, "declare", "made")


def test_names_are_found_whatever_their_ending(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.JPG", "b.png", "C.jpeg", "deep/d.webp", "é ü.jpg", "v1.2.jpg"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    pictures = PictureFiles(tmp_path, "made")
    for name in ("a", "a.jpg", "b", "b.jpg", "c.jpg", "C", "deep/d.jpg", "deep/d", "é ü", "v1.2", "v1.2.jpg"):
        assert pictures.picture(name).load().size == (8, 8), name
        assert pictures.picture(name).key == f"made/{name}"
    assert pictures.absent == ()
    assert pictures.picture("e").key in pictures.absent and pictures.picture("v1").key in pictures.absent


def test_another_content_is_kept_apart(tmp_path: Path) -> None:
    from clplat.data import picture_files

    before = files(tmp_path, "a").picture("a")
    first = before.content
    Image.new("RGB", (9, 9)).save(tmp_path / "a.jpg")
    picture_files._stamp.cache_clear()  # another process
    after = PictureFiles(tmp_path, "made").picture("a")
    assert before == after, "where a file lies and when it was written is no part of a stream"
    assert after.content != first and after.content.startswith("made/a@")


def test_a_root_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(UserError, match=r"fashioniq: no such folder.*did you mean 'images'"):
        PictureFiles(tmp_path / "image", "fashioniq")


def test_where_everything_is_missing_its_number_is_said(tmp_path: Path) -> None:
    pictures = PictureFiles(tmp_path, "made")
    with pytest.raises(
        UserError, match=r"8 of 8 pictures are missing: made/a, made/b, made/c, \.\.\.; they take"
    ):
        without_missing(stream(pictures), pictures.absent, "refuse", "made")
