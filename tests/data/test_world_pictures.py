"""Pictures as the world has them: every file here is made by its test."""

from __future__ import annotations

import io
import os
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clplat.data import decoding
from clplat.data.augment import Augment
from clplat.data.decoding import BadPicture, decode, open_picture, picture_file
from clplat.data.folders import read_folders
from clplat.data.images import PixelStore, Preprocess
from clplat.data.picture_files import PictureFiles
from clplat.data.records import Picture
from clplat.errors import UserError


def smooth(width: int, height: int) -> Image.Image:
    return Image.radial_gradient("L").resize((width, height)).convert("RGB")


def written(path: Path, picture: Image.Image, kind: str = "JPEG", **options: Any) -> Path:
    picture.save(path, kind, **options)
    return path


def near(found: Image.Image, wanted: Image.Image, levels: int = 4) -> bool:
    return (
        found.size == wanted.size and int(np.abs(np.asarray(found, int) - np.asarray(wanted)).max()) <= levels
    )


# -- what is in the file ----------------------------------------------------------------------


def test_colours_of_print_become_rgb(tmp_path: Path) -> None:
    shown = smooth(40, 30)
    file = written(tmp_path / "print.jpg", shown.convert("CMYK"), quality=95)
    assert near(open_picture(file), shown, 12)


@pytest.mark.parametrize(("kind", "options"), [("GIF", {"transparency": 0}), ("PNG", {"transparency": 0})])
def test_clear_parts_of_a_palette_are_white(tmp_path: Path, kind: str, options: Any) -> None:
    picture = Image.new("P", (6, 4), 1)
    picture.putpalette([0, 0, 0, 250, 0, 0])
    picture.paste(0, (0, 0, 3, 4))
    found = np.asarray(open_picture(written(tmp_path / "clear", picture, kind, **options)))
    assert (found[:, :3] == 255).all() and (found[:, 3:] == (250, 0, 0)).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_sixteen_bits_is_scaled(tmp_path: Path, kind: str) -> None:
    grey = Image.fromarray(np.array([[0, 257 * 7], [257 * 200, 65535]], dtype=np.uint16))
    found = np.asarray(open_picture(written(tmp_path / "deep", grey, kind)))
    assert found[..., 0].tolist() == [[0, 7], [200, 255]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_an_animated_picture_the_first_frame_is_read(tmp_path: Path, kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "green")]
    more: dict[str, Any] = {"lossless": True} if kind == "WEBP" else {}
    file = written(tmp_path / "moves", frames[0], kind, save_all=True, append_images=frames[1:], **more)
    assert Image.open(file).n_frames == 3  # type: ignore[attr-defined]
    assert open_picture(file).getpixel((8, 8)) == pytest.approx((255, 0, 0), abs=2)


def test_an_enormous_picture_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = written(tmp_path / "wide.png", Image.new("1", (60, 50)), "PNG").read_bytes()
    header = whole[12:16] + (70000).to_bytes(4, "big") * 2 + whole[24:29]
    checksum = zlib.crc32(header).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(whole[:12] + header + checksum + whole[33:])
    with pytest.raises(BadPicture, match=r"bomb\.png: it has 4,900,000,000 pixels, and at most 178,956,970 "):
        open_picture(tmp_path / "bomb.png")
    monkeypatch.setattr(decoding, "LARGEST", 2999)
    with pytest.raises(BadPicture, match=r"wide\.png: it has 60 x 50 pixels, and at most 2,999 are read"):
        open_picture(tmp_path / "wide.png")


@pytest.mark.parametrize("colour", ["black", "white"])
def test_a_png_is_inflated_again_only_where_it_ends_empty(
    colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, again = io.BytesIO(), []
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    monkeypatch.setattr(decoding, "_refuse_short_png", again.append)
    assert near(decode(file.getvalue()), Image.new("RGB", (8, 8), colour), 0)
    assert len(again) == (colour == "black")


# -- what it is called and where it lies ------------------------------------------------------


def test_the_content_decides_and_not_the_ending(tmp_path: Path) -> None:
    written(tmp_path / "a.jpg", smooth(9, 8), "PNG")
    written(tmp_path / "B.PNG", smooth(9, 8), "JPEG")
    files = PictureFiles(tmp_path, "made")
    assert [files.picture(name).load().size for name in ("a", "b", "b.png")] == [(9, 8)] * 3


def test_accents_are_found_whichever_way_they_are_written(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "Größe é/Café Übung.jpg") for form in ("NFC", "NFD"))
    assert composed != apart
    for number, (there, asked) in enumerate([(composed, apart), (apart, composed)]):
        file = tmp_path / str(number) / there
        file.parent.mkdir(parents=True)
        written(file, smooth(9, 8))
        files = PictureFiles(tmp_path / str(number), "made")
        for name in (asked, there, asked.upper().replace("SS", "ß")):
            assert files.picture(name).load().size == (9, 8), name
        assert files.absent == ()


def test_links_are_followed_and_those_to_nothing_are_missing(tmp_path: Path) -> None:
    written(tmp_path / "there.jpg", smooth(9, 8))
    for name, target in (("link", "there.jpg"), ("broken", "gone.jpg"), ("round", "round.jpg")):
        os.symlink(target, tmp_path / f"{name}.jpg")
    (tmp_path / "folder.jpg").mkdir()
    files = PictureFiles(tmp_path, "made")
    assert files.picture("link").load().size == (9, 8)
    for name in ("broken", "round", "folder"):
        files.picture(name)
    assert files.absent == ("made/broken", "made/round", "made/folder")
    for name in ("broken", "round"):
        with pytest.raises(BadPicture, match=f"{name}\\.jpg"):
            open_picture(tmp_path / f"{name}.jpg")


def test_a_link_to_nothing_in_a_tree_is_a_picture_that_cannot_be_read(tmp_path: Path) -> None:
    for category in ("cat", "dog"):
        folder = tmp_path / "photo" / category
        folder.mkdir(parents=True)
        written(folder / "1.jpg", smooth(9, 8))
    os.symlink("gone.jpg", tmp_path / "photo/cat/2.jpg")
    os.symlink("3.jpg", tmp_path / "photo/cat/3.jpg")
    os.symlink("..", tmp_path / "photo/up.jpg")  # a class like any other folder, with no picture in it
    with pytest.raises(UserError, match=r"no pictures in .*up\.jpg"):
        read_folders(tmp_path)
    with pytest.raises(UserError, match=r"2 of 4 pictures .* cannot be read: photo/cat/2\.jpg, photo/cat/3"):
        read_folders(tmp_path, classes=["cat", "dog"])
    tree = read_folders(tmp_path, classes=["cat", "dog"], bad_pictures="drop")
    assert tree.dropped == ("photo/cat/2.jpg", "photo/cat/3.jpg")
    assert tree.remarks[0].startswith("2 pictures in ") and "photo/cat/2.jpg" in tree.remarks[0]


# -- draft decoding ---------------------------------------------------------------------------


def test_a_draft_is_smaller_but_never_below_what_was_asked_for(tmp_path: Path) -> None:
    picture = picture_file("big", written(tmp_path / "big.jpg", smooth(900, 700), quality=95))
    assert picture.load().size == picture.read().size == (900, 700)
    for least in (1, 88, 100, 300, 699, 700, 2000):
        width, height = picture.read(least).size
        assert min(least, 700) <= height <= 700 and width == pytest.approx(height * 9 / 7, abs=2)
    assert picture.read(100).height < 200
    drawn = Picture("drawn", lambda: smooth(90, 70))
    assert drawn.read(10).size == (90, 70), "what cannot come smaller comes as it is"
    png = picture_file("png", written(tmp_path / "a.png", smooth(90, 70), "PNG"))
    assert png.read(10).size == (90, 70)


@pytest.mark.parametrize("kind", ["clip", "targetpad"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_pixels_of_a_draft_are_nearly_those_of_the_whole(tmp_path: Path, kind: Any, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = written(tmp_path / "big.jpg", smooth(1200, 500), quality=95, exif=exif)
    picture, whole, draft = picture_file("big", file), Preprocess(32, kind), Preprocess(32, kind, draft=2)
    apart = (whole.of(picture).int() - draft.of(picture).int()).abs().float()
    assert apart.mean() < 1 and (kind == "targetpad" or apart.max() <= 4)  # the edge of the black may shift
    assert whole.fingerprint() == f"{'clip' if kind == 'clip' else 'targetpad1.25'}-32-bicubic-pil-uint8-v1"
    assert draft.fingerprint() == whole.fingerprint().replace("-32-", "-32-draft2-")


def test_truncated_jpegs_are_refused_as_drafts_too(tmp_path: Path) -> None:
    file = written(tmp_path / "cut.jpg", smooth(900, 700).effect_spread(9))
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2] + b"\xff\xd9")
    with pytest.raises(BadPicture, match=r"cut\.jpg"):
        open_picture(file, least=100)


def test_random_views_take_drafts_and_have_the_same_place(tmp_path: Path) -> None:
    file = written(tmp_path / "big.jpg", smooth(1200, 900), quality=95)
    view = Augment("crop_flip", views=1, seed=0)(picture_file("big", file), "now")
    assert view.read(64).width < view.load().width / 2
    whole, draft = PixelStore(Preprocess(32)), PixelStore(Preprocess(32, draft=2))
    assert (whole.get([view]).int() - draft.get([view]).int()).abs().max() <= 6
    drawn = Augment("crop", views=1, seed=0)(Picture("drawn", lambda: smooth(90, 70)), "now")
    assert drawn.sized is None
