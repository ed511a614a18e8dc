"""Pictures to pixels: equal to open_clip's and CLIP4Cir's transforms, and clear about bad files."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import functional as F

from clplat.data.decoding import BadPicture, decode, open_picture, to_rgb
from clplat.data.images import PixelStore, Preprocess
from clplat.data.records import Picture
from clplat.errors import UserError


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture with detail at every scale, so that a shifted crop or another filter shows."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def reference_pad(picture: Image.Image, ratio: float) -> Image.Image:
    """CLIP4Cir's TargetPad, as published: torchvision pads in black."""
    width, height = picture.size
    if max(width, height) / min(width, height) < ratio:
        return picture
    scaled = max(width, height) / ratio
    across, down = max(int((scaled - width) / 2), 0), max(int((scaled - height) / 2), 0)
    return F.pad(picture, [across, down, across, down], 0, "constant")


def through_open_clip(picture: Image.Image, size: int, **how: Any) -> torch.Tensor:
    """open_clip's evaluation transform with its normalisation undone."""
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    normalised = open_clip.image_transform(size, is_train=False, mean=mean, std=std, **how)(picture)
    return normalised * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]


@settings(max_examples=40, deadline=None)
@given(st.integers(3, 90), st.integers(3, 90), st.integers(5, 64))
def test_clip_equals_open_clip(width: int, height: int, size: int) -> None:
    picture = noise(width, height)
    ours = Preprocess(size)(picture)
    assert ours.dtype == torch.uint8 and ours.shape == (3, size, size)
    assert (ours / 255 - through_open_clip(picture, size)).abs().max() < 1e-5


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 90), st.integers(3, 90))
def test_squash_equals_open_clip(width: int, height: int) -> None:
    picture = noise(width, height)
    ours = Preprocess(24, resize="squash")(picture)
    theirs = through_open_clip(picture, 24, resize_mode="squash", interpolation="bicubic")
    assert (ours / 255 - theirs).abs().max() < 1e-5
    with pytest.raises(UserError, match="unknown resize mode 'longest'"):
        Preprocess(24, resize="longest")


@settings(max_examples=30, deadline=None)
@given(st.integers(10, 90), st.integers(10, 90), st.sampled_from([1.0, 1.25, 2.0]))
def test_targetpad_equals_clip4cir(width: int, height: int, ratio: float) -> None:
    picture = noise(width, height)
    ours = Preprocess(32, "targetpad", ratio)(picture)
    assert (ours / 255 - through_open_clip(reference_pad(picture, ratio), 32)).abs().max() < 1e-5


def test_targetpad_keeps_what_the_crop_would_lose() -> None:
    tall = Image.new("RGB", (40, 120), "white")
    tall.paste("red", (0, 0, 40, 20))
    assert (Preprocess(24)(tall)[1] > 200).all()
    padded = Preprocess(24, "targetpad", 1.0)(tall)
    assert padded[0, 1, 12] > 200 and padded[1, 1, 12] < 50
    assert (padded[:, 12, 0] == 0).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_every_mode_becomes_rgb_with_its_colours(mode: str) -> None:
    grey = Image.fromarray(np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1)))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        picture = grey.convert("RGB").convert(mode, palette=Image.Palette.ADAPTIVE)
    out = to_rgb(picture)
    assert out.mode == "RGB"
    if mode != "1":
        difference = np.asarray(out).astype(int) - np.asarray(grey)[..., None].astype(int)
        assert abs(difference).max() <= 3


def test_transparent_parts_are_white_and_opaque_ones_unchanged() -> None:
    picture = noise(8, 8).convert("RGBA")
    assert np.array_equal(np.asarray(to_rgb(picture)), np.asarray(noise(8, 8)))
    picture.paste((0, 0, 0, 0), (0, 0, 8, 4))
    assert (np.asarray(to_rgb(picture))[:4] == 255).all()
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0, 250, 0, 0])
    palette.info["transparency"] = 0
    assert (np.asarray(to_rgb(palette)) == 255).all()


def test_pictures_are_turned_upright(tmp_path: Path) -> None:
    picture = noise(12, 8)
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.png", exif=exif)
    upright = open_picture(tmp_path / "turned.png")
    assert upright.size == (8, 12)
    assert np.array_equal(np.asarray(upright), np.rot90(np.asarray(picture), -1))
    assert to_rgb(upright).size == (8, 12), "turned once only"


def test_a_broken_exif_block_does_not_spoil_the_picture(tmp_path: Path) -> None:
    noise(12, 8).save(tmp_path / "odd.jpg", exif=b"Exif\0\0nonsense")
    assert open_picture(tmp_path / "odd.jpg").size == (12, 8)


BAD_FILES = ["missing", "folder", "empty", "text", "truncated.jpg", "truncated.png", "flipped.png"]


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_named_in_one_line(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    whole = io.BytesIO()
    noise(40, 40).save(whole, "PNG" if kind.endswith("png") else "JPEG")
    content = whole.getvalue()
    if kind == "folder":
        path.mkdir()
    elif kind == "flipped.png":
        path.write_bytes(content[:60] + bytes([content[60] ^ 255]) + content[61:])
    elif kind != "missing":
        path.write_bytes({"empty": b"", "text": b"hello"}.get(kind, content[: len(content) // 2]))
    with pytest.raises(BadPicture) as error:
        open_picture(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)
    assert isinstance(error.value, UserError)


def test_fingerprints_differ_with_whatever_changes_the_pixels() -> None:
    clip, padded = [Preprocess(32), Preprocess(64)], [Preprocess(32, "targetpad", r) for r in (1.25, 1.5)]
    assert len({preprocess.fingerprint() for preprocess in clip + padded}) == 4
    assert Preprocess(32).fingerprint() == Preprocess(32, ratio=2.0).fingerprint()


def test_wrong_settings_are_user_errors() -> None:
    with pytest.raises(UserError, match="did you mean 'targetpad'"):
        Preprocess(32, "target_pad")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="size"):
        Preprocess(0)


class Counted:
    """Pictures that count how often each was loaded."""

    def __init__(self) -> None:
        self.loads: list[str] = []

    def __call__(self, key: str) -> Picture:
        def load() -> Image.Image:
            self.loads.append(key)
            return Image.new("RGB", (10, 10), (ord(key), 0, 0))

        return Picture(key, load)


def test_the_store_decodes_each_key_once_and_keeps_the_order() -> None:
    make, store = Counted(), PixelStore(Preprocess(8))
    pixels = store.get([make(key) for key in "abacb"])
    assert pixels[:, 0, 0, 0].tolist() == [ord(key) for key in "abacb"]
    store.get([make(key) for key in "cab"])
    assert make.loads == ["a", "b", "c"]
    assert (store.asked, store.decoded) == (8, 3)
    assert store.get([]).shape == (0, 3, 8, 8)


def test_the_least_recently_used_go_first() -> None:
    make, store = Counted(), PixelStore(Preprocess(8), limit_bytes=2 * 3 * 8 * 8)
    for key in "abac":  # c takes the place of b, since a was used again
        store.get([make(key)])
    store.get([make("a")])
    store.get([make("b")])
    assert make.loads == ["a", "b", "c", "b"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("abcde", max_size=8), max_size=6), st.integers(0, 5))
def test_whatever_the_limit_the_pixels_are_right(calls: list[str], rows: int) -> None:
    make, store = Counted(), PixelStore(Preprocess(4), limit_bytes=rows * 3 * 4 * 4)
    for keys in calls:
        assert store.get([make(key) for key in keys])[:, 0, 0, 0].tolist() == [ord(key) for key in keys]
        assert len(store._kept) <= rows
    assert store.decoded == len(make.loads) <= store.asked


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_have_pillows_pixels(mode: str, options: dict[str, Any]) -> None:
    file = io.BytesIO()
    noise(61, 35).resize((122, 70)).convert(mode).save(file, "JPEG", **options)
    theirs = Image.open(io.BytesIO(file.getvalue())).convert("RGB")
    assert np.array_equal(np.asarray(decode(file.getvalue())), np.asarray(theirs))


def test_a_jpeg_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(12, 8).save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture(tmp_path / "turned.jpg").size == (8, 12)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(1, 1), (9, 5), (64, 3)])
def test_whole_pngs_of_every_depth_are_read(bits: int, size: tuple[int, int]) -> None:
    picture = Image.new("P", size, 1)
    picture.putpalette([0, 0, 0, 250, 0, 0])
    file = io.BytesIO()
    picture.save(file, "PNG", bits=bits)
    assert decode(file.getvalue()).getpixel((0, 0)) == (250, 0, 0)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 9), (3, 33)])
def test_interlaced_pngs_are_read_whole_and_missed_where_they_end_early(size: tuple[int, int]) -> None:
    width, height = size
    pixels = noise(*size)
    rows = b""
    for x, y, across, down in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
    ):  # fmt: skip
        part = np.asarray(pixels)[y::down, x::across]
        rows += b"".join(b"\0" + row.tobytes() for row in part if part.shape[1])

    def png(content: bytes) -> bytes:
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(content)), (b"IEND", b""))
        body = (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in chunks
        )
        return b"\x89PNG\r\n\x1a\n" + b"".join(body)

    assert np.array_equal(np.asarray(decode(png(rows))), np.asarray(pixels))
    with pytest.raises(ValueError, match="its pixels end after"):
        decode(png(rows[:-1]))


@pytest.mark.parametrize("kind", ["clip", "targetpad"])
@pytest.mark.parametrize("size", [(20000, 1), (1, 20000), (4000, 3)])
def test_a_thin_picture_costs_no_more_than_its_crop(kind: Any, size: tuple[int, int]) -> None:
    tracemalloc.start()
    found = Preprocess(224, kind)(Image.new("RGB", size, "red"))
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
    assert found.shape == (3, 224, 224)
    if kind == "clip":
        assert (found[0] == 255).all() and (found[1:] == 0).all()


def test_the_crop_of_a_thin_picture_is_that_of_the_whole() -> None:
    picture = noise(700, 10)
    whole = picture.resize((16 * 70, 16), Image.Resampling.BICUBIC).crop((552, 0, 568, 16))
    ours = Preprocess(16)(picture).permute(1, 2, 0).numpy().astype(int)
    assert abs(ours - np.asarray(whole).astype(int)).max() <= 1


def test_grey_of_many_bits_is_scaled_to_eight() -> None:
    wide = np.array([[0, 1 << 20], [1 << 19, 1 << 18]], dtype=np.int32)
    assert np.asarray(to_rgb(Image.fromarray(wide)))[..., 0].tolist() == [[0, 255], [128, 64]]
    unit = np.array([[0.0, 1.0], [0.5, 0.25]], dtype=np.float32)
    assert np.asarray(to_rgb(Image.fromarray(unit)))[..., 0].tolist() == [[0, 255], [128, 64]]
    far = np.array([[-3.0, 5.0], [1.0, -1.0]], dtype=np.float32)
    assert np.asarray(to_rgb(Image.fromarray(far)))[..., 0].tolist() == [[0, 255], [128, 64]]
    flat = np.full((2, 2), 1 << 20, dtype=np.int32)
    assert (np.asarray(to_rgb(Image.fromarray(flat))) == 0).all()
    with pytest.raises(ValueError, match="no number"):
        to_rgb(Image.fromarray(np.full((2, 2), np.nan, dtype=np.float32)))


def test_transparent_grey_of_sixteen_bits_is_white() -> None:
    file = io.BytesIO()
    grey = np.array([[0, 40000], [65535, 256]], dtype=np.uint16)
    Image.fromarray(grey).save(file, "PNG", transparency=40000)
    assert np.asarray(decode(file.getvalue()))[..., 0].tolist() == [[0, 255], [255, 1]]
