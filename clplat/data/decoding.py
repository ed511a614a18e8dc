"""Picture files to RGB: whole, or refused by name; upright, on white, in eight bits."""

from __future__ import annotations

import hashlib
import io
import re
import zlib
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from clplat.data.records import Picture
from clplat.errors import UserError

__all__ = ["LARGEST", "BadPicture", "content_digest", "decode", "open_picture", "picture_file", "to_rgb"]

#: Pixels of the largest picture that is read, as Pillow has it: half a gigabyte once it is decoded.
LARGEST = 178_956_970
_ORIENTATION = 0x0112
_WITH_ALPHA = {"RGBA", "LA", "PA", "RGBa", "La"}
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Where the passes of an interlaced PNG begin, and their steps: x, y, x step, y step.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


class BadPicture(UserError):
    """A picture file that is missing, cut short or no picture; the message names it."""


def open_picture(path: Path, least: int = 0) -> Image.Image:
    """Decode a picture file fully and return it as RGB, upright, at its native size.

    Args:
        least: as `decode` takes it.

    Raises:
        BadPicture: the file is missing, cut short, of more than `LARGEST` pixels or not a picture.
    """
    try:
        return decode(path.read_bytes(), least)
    except FileNotFoundError:
        raise BadPicture(f"no such picture: {path}") from None
    except UnidentifiedImageError:
        raise BadPicture(f"cannot read picture {path}: not a picture in a known format") from None
    except Exception as error:  # codecs raise whatever they like: SyntaxError, struct.error, zlib.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadPicture(f"cannot read picture {path}: {reason}") from error


def picture_file(name: str, path: Path, digest: str | None = None) -> Picture:
    """The picture in a file; other content under the same name is another picture, to every store.

    Args:
        name: of the picture among others; its key is this and a digest of the content.
        path: of the file; it is decoded when its pixels are read.
        digest: of the content, where it was read already, see `content_digest`.

    Raises:
        BadPicture: there is no such file.
    """
    try:
        stat = path.stat()
        key = f"{name}@{digest or _file_digest(path, stat.st_size, stat.st_mtime_ns)}"
    except OSError as error:
        raise BadPicture(f"cannot read picture {path}: {error.strerror}") from None
    load = partial(open_picture, path)  # unlike a lambda it can be sent to the workers of a DataLoader
    return Picture(key, load, sized=load)


@lru_cache(maxsize=1 << 16)  # a benchmark may name a picture many times
def _file_digest(path: Path, size: int, changed: int) -> str:
    return content_digest(path.read_bytes())


def content_digest(content: bytes) -> str:
    """Eight letters that tell all of a file's content from that of other versions of it."""
    digest = hashlib.blake2b(b"%d" % len(content), digest_size=4)
    digest.update(content)
    return digest.hexdigest()


def decode(content: bytes, least: int = 0) -> Image.Image:
    """Decode a picture's file, as `open_picture`; of an animated one the first frame.

    Pillow fills what is missing at the end of a JPEG with grey, of a PNG with black; here both are errors.
    JPEGs are decoded by the same library as Pillow's, to the same pixels, which says what it misses.

    Args:
        content: of the file.
        least: a JPEG may come back smaller, with this many pixels or more on its shorter side, which takes
            a part of the time; what is made of it by resizing differs a little. 0: at its native size.

    Raises:
        Exception: whatever codecs raise; ValueError where pixels are missing or too many.
    """
    picture = _opened(content)
    if picture.format in ("JPEG", "MPO"):
        try:
            pixels = simplejpeg.decode_jpeg(
                content, colorspace="RGB", min_height=least, min_width=least, strict=True
            )
        except ValueError as error:
            if "premature end" in str(error).lower():
                raise
        else:
            if picture.mode in ("RGB", "L"):  # colours of print are converted in ways that differ
                found = Image.fromarray(pixels)
                found.info = picture.info  # it may say how to turn the picture
                return to_rgb(found)
    if picture.format == "PNG":
        Image.open(io.BytesIO(content)).verify()  # checksums, which decoding passes over
        if picture.info.get("interlace") or _ends_empty(picture):
            _refuse_short_png(content)
    picture.load()
    return to_rgb(picture)


def _opened(content: bytes) -> Image.Image:
    """The picture, of which no pixel is decoded yet."""
    try:
        picture = Image.open(io.BytesIO(content))
    except Image.DecompressionBombError as error:  # it tells the count of pixels, no width and height
        found = re.search(r"\d+", str(error))
        raise ValueError(_too_large(f"{int(found[0]):,}" if found else "too many")) from None
    if picture.width * picture.height > LARGEST:  # Pillow's own bound can be lifted
        raise ValueError(_too_large(f"{picture.width:,} x {picture.height:,}"))
    return picture


def _too_large(pixels: str) -> str:
    return f"it has {pixels} pixels, and at most {LARGEST:,} are read"


def _ends_empty(picture: Image.Image) -> bool:
    """Whether the last row is decoded as if nothing were there, so that the pixels may have ended early."""
    last = picture.crop((0, picture.height - 1, picture.width, picture.height))
    return not np.asarray(last).any()


def _refuse_short_png(content: bytes) -> None:
    """ValueError where the pixels of a PNG end before its last row does."""
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    bits, interlaced = content[24] * _PNG_CHANNELS[content[25]], content[28]
    wanted = 0
    for x, y, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - x) // across), -(-(height - y) // down)
        if columns > 0 and rows > 0:
            wanted += rows * (1 + -(-columns * bits // 8))
    place, unpacked, there = 8, zlib.decompressobj(), 0
    while there < wanted and place + 8 <= len(content):
        size, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8]
        rest = content[place + 8 : place + 8 + size] if kind == b"IDAT" else b""
        while rest:
            there += len(unpacked.decompress(rest, 1 << 20))
            rest = unpacked.unconsumed_tail
        place += size + 12
    if there < wanted:
        raise ValueError(f"its pixels end after {there} of {wanted} bytes")


def to_rgb(picture: Image.Image) -> Image.Image:
    """Turn any PIL picture upright (EXIF) and into RGB; an RGB picture is returned as it is.

    Transparent parts become white, as on a page: the colours that files hide under them are arbitrary. Grey
    of 16 bits is scaled to 8, where PIL's own conversion may clip it to white; grey of 32 bits is scaled from
    its darkest to its brightest where it leaves the range of 16 bits or, as fractions, that of 0 to 1.

    Raises:
        ValueError: grey that is no number.
    """
    if _orientation(picture) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I") or picture.mode == "F":
        return Image.fromarray(_eight_bits(picture)).convert("RGB")
    if picture.mode in _WITH_ALPHA or "transparency" in picture.info:
        ground = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(ground, picture.convert("RGBA")).convert("RGB")
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> np.ndarray:
    """Grey of more than 8 bits as uint8 (H, W), white where it is transparent."""
    grey = np.asarray(picture)
    if not np.isfinite(grey).all():
        raise ValueError("its grey is no number somewhere")
    low, high = float(grey.min()), float(grey.max())
    if picture.mode == "F":
        low, high = (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)
    elif low >= 0 and high <= 65535:
        found = (grey.astype(np.uint16) >> 8).astype(np.uint8)
        clear = picture.info.get("transparency")
        return np.where(grey == clear, np.uint8(255), found) if isinstance(clear, int) else found
    scale = 255.0 / (high - low) if high > low else 0.0
    return ((grey.astype(np.float64) - low) * scale).round().astype(np.uint8)


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block does not make the pixels bad
        return 1
