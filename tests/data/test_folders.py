"""Trees of pictures: stable splits, checked files, errors that say what to do."""

from __future__ import annotations

import io
import os
import pickle
import re
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clplat.data.folders import SPLITS, FolderTree, read_folders, split_of, to_words, with_article
from clplat.errors import UserError


def encoded(kind: str, shade: int = 90) -> bytes:
    file = io.BytesIO()
    Image.radial_gradient("L").resize((24, 16)).point(lambda v: (v + shade) % 256).save(file, kind)
    return file.getvalue()


SMALL = encoded("PNG")


def draw(root: Path, files: list[str]) -> Path:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SMALL)
    return root


def tree_of(root: Path, count: int = 4) -> Path:
    cells = [f"{domain}/{category}" for domain in ("photo", "sketch") for category in ("cat", "dog")]
    return draw(root, [f"{cell}/{i:03d}.png" for cell in cells for i in range(count)])


def places(tree: FolderTree) -> dict[str, str]:
    """Relative path -> split."""
    cells = tree.cells.items()
    return {p.key.rpartition("@")[0]: split for (_, _, split), pictures in cells for p in pictures}


def test_every_picture_is_read_once_in_its_place(tmp_path: Path) -> None:
    tree = read_folders(tree_of(tmp_path, 30))
    assert (tree.domains, tree.classes) == (("photo", "sketch"), ("cat", "dog"))
    assert len(places(tree)) == 120
    for (domain, category, split), pictures in tree.cells.items():
        assert [p.key for p in pictures] == sorted(p.key for p in pictures)
        for picture in pictures:
            relative = picture.key.rpartition("@")[0]
            assert relative.startswith(f"{domain}/{category}/") and split_of(relative) == split
            assert picture.load().size == (24, 16)
    assert sum(tree.report["pictures"]["photo"].values()) == 60
    assert pickle.loads(pickle.dumps(tree)) == tree, "workers of a DataLoader need it"


def test_the_split_is_pinned() -> None:
    """These places must never move: older models would have been trained on newer test pictures."""
    expected = {"train": (0, 3, 6, 7, 9, 10), "val": (4, 5), "test": (1, 2, 8, 11)}
    for split, numbers in expected.items():
        assert {split_of(f"photo/dog/{i}.jpg") for i in numbers} == {split}
    counts = Counter(split_of(f"d/c/{i}") for i in range(4000))
    assert [counts[split] for split in SPLITS] == pytest.approx([2400, 600, 1000], abs=80)


NUMBERS = st.sets(st.integers(0, 60), min_size=1, max_size=12)


@settings(max_examples=15, deadline=None)
@given(NUMBERS, NUMBERS)
def test_other_files_never_move_a_picture(
    tmp_path_factory: pytest.TempPathFactory, first: set[int], second: set[int]
) -> None:
    def read(numbers: set[int]) -> dict[str, str]:
        files = [f"photo/{category}/{i}.png" for category in ("cat", "dog") for i in numbers]
        return places(read_folders(draw(tmp_path_factory.mktemp("tree"), files)))

    a, b = read(first), read(second)
    assert all(a[name] == b[name] for name in a.keys() & b.keys())
    assert len(a) == 2 * len(first)


def test_keys_follow_the_content_and_not_the_root_or_the_time(tmp_path: Path) -> None:
    first = read_folders(tree_of(tmp_path / "first"))
    copy = tree_of(tmp_path / "copy")
    os.utime(copy / "photo/cat/000.png", (0, 0))
    assert read_folders(copy).cells == first.cells
    (copy / "photo/cat/000.png").write_bytes(encoded("PNG", 10))
    changed = {p.key for cell in read_folders(copy).cells.values() for p in cell}
    assert len(changed - {p.key for cell in first.cells.values() for p in cell}) == 1


def test_other_files_and_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    root = tree_of(tmp_path)
    draw(root, [".git/x/a.png", "__MACOSX/x/b.png", "photo/.cache/c.png", "photo/cat/._000.png"])
    draw(root, ["photo/cat/deep/d.png"])
    (root / "README.md").write_text("read me")
    (root / "photo/cat/notes.txt").write_text("no picture")
    (root / "photo/cat/UPPER.JPG").write_bytes(encoded("JPEG"))
    for kind, suffix in (("WEBP", "webp"), ("BMP", "bmp"), ("JPEG", "jpeg")):
        (root / f"photo/cat/other.{suffix}").write_bytes(encoded(kind))
    assert len(places(read_folders(root))) == 16 + 4


def test_domains_and_classes_can_be_chosen(tmp_path: Path) -> None:
    root = tree_of(tmp_path)
    draw(root, ["photo/horse/1.png", "empty/readme.txt"])
    assert read_folders(root, ["sketch"]).domains == ("sketch",)
    assert read_folders(root, ["photo"], ["horse", "cat"]).classes == ("cat", "horse")
    with pytest.raises(
        UserError, match=r"'skech'; did you mean 'sketch'\? \(allowed: empty, photo, sketch\)"
    ):
        read_folders(root, ["skech"])
    with pytest.raises(UserError, match=r"'hors'; did you mean 'horse'\?"):
        read_folders(root, ["photo"], ["cat", "hors"])
    with pytest.raises(UserError, match=r"domain 'sketch' in .* has none of the classes horse"):
        read_folders(root, ["photo", "sketch"], ["horse"])


def test_what_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    root = tree_of(tmp_path / "pacs")
    with pytest.raises(
        UserError, match=r"no such folder: .*pasc; did you mean 'pacs'\?; expected <root>/<domain>"
    ):
        read_folders(tmp_path / "pasc")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=r"no domain folders in .*bare; expected"):
        read_folders(tmp_path / "bare")
    (root / "cartoon").mkdir()
    with pytest.raises(UserError, match=r"no class folders in .*cartoon"):
        read_folders(root)
    (root / "cartoon/dog").mkdir()
    with pytest.raises(UserError, match=r"no pictures in .*cartoon/dog"):
        read_folders(root)
    draw(tmp_path / "one", ["photo/cat/1.png", "sketch/cat/1.png"])
    with pytest.raises(UserError, match="single class 'cat'"):
        read_folders(tmp_path / "one")
    with pytest.raises(UserError, match="did you mean 'drop'"):
        read_folders(root, bad_pictures="dropp")  # type: ignore[arg-type]


def spoil(root: Path) -> list[str]:
    """Add one bad file of each kind; return their relative paths."""
    kinds = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP", "bmp": "BMP"}
    whole = {f"photo/cat/cut.{suffix}": encoded(kind) for suffix, kind in kinds.items()}
    bad = {name: content[: len(content) * 2 // 3] for name, content in whole.items()}
    flipped = bytearray(SMALL)
    flipped[50] ^= 255
    bad |= {
        "photo/dog/flipped.png": bytes(flipped),
        "sketch/cat/empty.jpg": b"",
        "sketch/dog/text.jpg": b"hello",
    }
    for name, content in bad.items():
        (root / name).write_bytes(content)
    return sorted(bad)


def test_bad_pictures_are_refused_or_dropped_and_reported(tmp_path: Path) -> None:
    root = tree_of(tmp_path)
    (root / "photo/cat/padded.jpg").write_bytes(encoded("JPEG") + b"\0\0\0")
    (root / "photo/cat/trailer.jpg").write_bytes(encoded("JPEG") + b"vendor data")
    bad = spoil(root)
    refused = r"^7 of 25 pictures in .* cannot be read: .*cut\.bmp.*bad_pictures drop$"
    with pytest.raises(UserError, match=refused) as error:
        read_folders(root)
    assert "\n" not in str(error.value)
    tree = read_folders(root, bad_pictures="drop")
    assert sorted(tree.dropped) == bad == sorted(tree.report["dropped"]["files"])
    assert len(places(tree)) == 18
    for cell in tree.cells.values():
        for picture in cell:
            picture.load()


def test_a_class_of_bad_pictures_only_is_refused(tmp_path: Path) -> None:
    root = tree_of(tmp_path)
    for path in (root / "photo/cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of the 4 pictures in .*photo/cat"):
        read_folders(root, bad_pictures="drop")


def test_folder_names_become_words() -> None:
    names = {"art_painting": "art painting", "Real World": "real world", "003.backpack": "backpack", "3": "3"}
    assert {name: to_words(name) for name in names} == names
    for right in ("an art painting", "a sketch", "an hour", "a house", "a unicorn", "an umbrella", "a user"):
        assert with_article(right.split(" ", 1)[1]) == right


def test_pacs_is_read_whole(pacs: Path) -> None:
    tree = read_folders(pacs)
    assert len(places(tree)) == 9991 and not tree.dropped
    assert (len(tree.domains), len(tree.classes)) == (4, 7)
    assert all(tree.pictures(d, c, split) for d in tree.domains for c in tree.classes for split in SPLITS)


@pytest.fixture
def pacs(shared_data: Callable[[str], Path]) -> Path:
    return shared_data("pacs")


def test_copies_of_training_pictures_are_counted_and_can_be_refused(tmp_path: Path) -> None:
    root = tree_of(tmp_path, 1)
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        path.write_bytes(encoded("PNG", number))
    assert read_folders(root).copies == {"count": 0, "trained_on": []} and not read_folders(root).remarks
    names = [f"{i}.png" for i in range(40)]
    train = next(name for name in names if split_of(f"photo/dog/{name}") == "train")
    test = next(name for name in names if split_of(f"sketch/dog/{name}") == "test")
    for name in (f"photo/dog/{train}", f"sketch/dog/{test}"):
        (root / name).write_bytes(encoded("PNG", 200))
    tree = read_folders(root)
    assert tree.report["copies"] == {"count": 1, "trained_on": [f"sketch/dog/{test}"]}
    line = r"1 of \d+ pictures for val and test in .* are training pictures under another name: sketch/dog/"
    assert re.match(line, tree.remarks[0])
    with pytest.raises(UserError, match=line + r".*--scenario\.copies report$"):
        read_folders(root, copies="refuse")


def test_a_domain_that_nobody_asked_for_is_named(tmp_path: Path) -> None:
    root = tree_of(tmp_path, 1)
    assert read_folders(root).left_out == () and "left_out" not in read_folders(root).report
    tree = read_folders(root, ["sketch"])
    assert (
        tree.report["left_out"] == ["photo"]
        and f"order leaves out what is in {root} too: photo" in tree.remarks
    )


def test_a_key_covers_the_whole_content(tmp_path: Path) -> None:
    """Two bitmaps that differ in the middle of their 480 kB, under one name and of one size."""
    for place, colour in (("one", "red"), ("two", "blue")):
        for category in ("cat", "dog"):
            folder = tmp_path / place / "photo" / category
            folder.mkdir(parents=True)
            picture = Image.new("RGB", (400, 400), "white")
            picture.paste(colour, (180, 180, 220, 220))
            picture.save(folder / "1.bmp")
    keys = [
        {picture.key for cell in read_folders(tmp_path / place).cells.values() for picture in cell}
        for place in ("one", "two")
    ]
    assert len(keys[0]) == len(keys[1]) == 2 and keys[0].isdisjoint(keys[1])


def without_end(kind: str, **options: Any) -> bytes:
    """A picture whose pixels end early although its file ends as it should: Pillow makes it half grey."""
    file = io.BytesIO()
    drawn = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(drawn).save(file, kind, **options)
    content = file.getvalue()
    if kind == "JPEG":
        return content[: len(content) * 2 // 3] + b"\xff\xd9"
    start = content.index(b"IDAT") - 4
    pixels = zlib.decompress(
        content[start + 8 : start + 8 + int.from_bytes(content[start : start + 4], "big")]
    )
    short = zlib.compress(pixels[: len(pixels) // 2])
    chunk = b"IDAT" + short
    idat = len(short).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    return content[:start] + idat + content[content.index(b"IEND") - 4 :]


@pytest.mark.parametrize(
    ("kind", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})],
    ids=["jpeg", "progressive", "png"],
)
def test_pictures_that_are_half_there_are_dropped(tmp_path: Path, kind: str, options: Any) -> None:
    root, bad = tree_of(tmp_path), without_end(kind, **options)
    Image.open(io.BytesIO(bad)).load()  # Pillow says nothing
    (root / f"photo/cat/half.{kind.lower()}").write_bytes(bad)
    assert read_folders(root, bad_pictures="drop").dropped == (f"photo/cat/half.{kind.lower()}",)
    with pytest.raises(UserError, match=r"half\.\w+.*bad_pictures drop"):
        read_folders(root)


def test_no_picture_of_the_cases_passes_the_check(shared_data: Callable[[str], Path], tmp_path: Path) -> None:
    root = tree_of(tmp_path)
    files = sorted((shared_data("../cases") / "pictures").iterdir())
    for file in files:
        (root / "photo/cat" / file.name).write_bytes(file.read_bytes())
    assert [Path(name).name for name in read_folders(root, bad_pictures="drop").dropped] == [
        file.name for file in files
    ]
