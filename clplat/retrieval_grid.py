"""Retrieval grids: reference, change in words, and what was found, as one picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from clplat.data.records import Item, Picture, RetrievalSet
from clplat.evaluation.lists import Lists
from clplat.files import write_atomically

_CELL, _GAP = 96, 8  # pixels: side of a picture, space between two
_WORDS = int(1.9 * _CELL)
_MOST = 100  # queries
_RIGHT, _WRONG, _INK, _PAPER = "#009e73", "#d55e00", "#222222", "#ffffff"


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG in 256 colours, whole or not at all: a third of the bytes, and dithered no eye sees it.

    Texts among what the picture knows of itself go with it.
    """
    small = picture
    if picture.getcolors(256) is None:
        chosen = picture.quantize(256, method=Image.Quantize.FASTOCTREE)
        small = picture.quantize(palette=chosen, dither=Image.Dither.FLOYDSTEINBERG)
    known = PngInfo()
    for key, value in picture.info.items():
        if isinstance(key, str) and isinstance(value, str):
            known.add_text(key, value)
    # A third of the usual level's time, for a tenth more bytes.
    write_atomically(path, lambda at: small.save(at, format="PNG", pnginfo=known, compress_level=4))


Answer = tuple[Picture | Item, bool | None]


def draw_grid(
    rows: Sequence[tuple[str, Picture | None, str, Sequence[Answer]]],
    wanted: Sequence[tuple[Item, int] | None] = (),
) -> Image.Image:
    """Draw one line per query: its title, the reference, the words, and the results in order.

    Args:
        rows: (title, reference, text, [(picture or item, right?)]); no reference where the query has none,
            ``None`` where nothing is known about an answer. Right answers have a solid green frame with a
            tick, wrong ones a thin orange one, so that colour is not the only sign. An item of words is
            written out.
        wanted: of each line what should have been found and its rank, 1 being the first; drawn at the end.

    Returns:
        The picture. Its ``info["queries"]`` says in JSON what is where, for `clplat.plots.grids.read_grid`.
    """
    if not rows:
        raise ValueError("a grid needs at least one query")
    columns = max(len(found) for *_, found in rows)
    width = 3 * _GAP + _CELL + _WORDS + columns * (_CELL + _GAP) + bool(any(wanted)) * (_CELL + 3 * _GAP)
    sheet = Image.new("RGB", (width, _GAP + len(rows) * (_CELL + 2 * _GAP)), _PAPER)
    places = []
    for row, (title, reference, text, found) in enumerate(rows):
        top = _GAP + row * (_CELL + 2 * _GAP)
        place: dict[str, Any] = {
            "query": title,
            "text": text,
            "rank": None,
            "reference": None,
            "wanted": None,
        }
        if reference is not None:
            place["reference"] = _paste(sheet, _thumbnail(reference), _GAP, top)
        _write(sheet, title, text, top)
        start = 2 * _GAP + _CELL + _WORDS
        place["best"] = [
            (_paste(sheet, _card(shown), start + k * (_CELL + _GAP), top, right), right)
            for k, (shown, right) in enumerate(found)
        ]
        if wanted and (known := wanted[row]) is not None:
            left = width - _CELL - _GAP
            place["wanted"] = _paste(sheet, _card(known[0]), left, top)
            place["rank"] = known[1]
            draw, words = ImageDraw.Draw(sheet), f"wanted: rank {known[1]}"
            draw.rectangle((left - 2, top - 2, left + _CELL + 1, top + _CELL + 1), outline=_RIGHT, width=2)
            draw.text((left, top + _CELL + 2), words, fill=_INK, font=ImageFont.load_default(size=10))
        places.append(place)
    sheet.info["queries"] = json.dumps(places)
    return sheet


def query_grid(
    names: Sequence[str],
    sets: Sequence[RetrievalSet],
    lists: Mapping[str, Lists],
    ranks: Mapping[str, Tensor] | None = None,
) -> Image.Image:
    """The first query of every domain with its six best candidates: the same queries for every version.

    Of a long stream the first hundred domains: nobody looks at more, and a picture has its limits.

    Args:
        ranks: domain -> (Q,) the rank of the best-placed target of each query, from 0.
    """
    lines: list[tuple[str, Picture | None, str, list[Answer]]] = []
    wanted: list[tuple[Item, int] | None] = []
    for name, held in list(zip(names, sets, strict=True))[:_MOST]:
        query, items = held.queries[0], held.gallery.items
        best = [items[g] for g in lists[name].rows[0, :6].tolist() if g >= 0]
        known = held.labels == "known"
        found = [(item, item.key in query.targets if known else None) for item in best]
        lines.append((name, query.reference, " / ".join(query.said), list(found)))
        targets = [item for item in items if item.key in query.targets] if known else []
        shown = [item for item in best if item.key in query.targets] + targets
        wanted.append((shown[0], int(ranks[name][0]) + 1) if shown and ranks and name in ranks else None)
    return draw_grid(lines, wanted)


def _paste(
    sheet: Image.Image, picture: Image.Image, left: int, top: int, right: bool | None = None
) -> tuple[int, int, int, int]:
    """A picture in the frame of its answer; the box that it takes."""
    sheet.paste(picture, (left, top))
    draw = ImageDraw.Draw(sheet)
    if right is not None:
        frame = (left - 2, top - 2, left + _CELL + 1, top + _CELL + 1)
        draw.rectangle(frame, outline=_RIGHT if right else _WRONG, width=4 if right else 1)
    if right:
        draw.line([(left + 7, top + 14), (left + 12, top + 19), (left + 21, top + 8)], fill=_RIGHT, width=4)
    return left, top, left + _CELL, top + _CELL


def _write(sheet: Image.Image, title: str, text: str, top: int) -> None:
    """The title and the words of a query, in the column beside its reference."""
    size = 12
    font = ImageFont.load_default(size=size)
    lines = _wrapped(title, font, _WORDS - _GAP)[:1]
    lines += _wrapped(f"“{text}”", font, _WORDS - _GAP) if text else []
    room = max(2, _CELL // (size + 3))
    body = "\n".join(lines if len(lines) <= room else [*lines[: room - 1], lines[room - 1][:-1] + "…"])
    ImageDraw.Draw(sheet).multiline_text((2 * _GAP + _CELL, top), body, fill=_INK, font=font, spacing=2)


def _card(shown: Picture | Item) -> Image.Image:
    """A picture, or the words of an item that has none."""
    picture = shown.picture if isinstance(shown, Item) else shown
    if picture is not None:
        return _thumbnail(picture)
    card = Image.new("RGB", (_CELL, _CELL), "#f4f4f4")
    font = ImageFont.load_default(size=11)
    lines = _wrapped(shown.text or "" if isinstance(shown, Item) else "", font, _CELL - 8)
    room = _CELL // 14
    body = "\n".join(lines if len(lines) <= room else [*lines[: room - 1], lines[room - 1][:-1] + "…"])
    ImageDraw.Draw(card).multiline_text((4, 3), body, fill=_INK, font=font, spacing=2)
    return card


def _wrapped(text: str, font: Any, width: float) -> list[str]:
    """Lines of at most ``width`` pixels; a word that is longer by itself is broken."""
    lines = [""]
    for word in text.split():
        if lines[-1] and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
            continue
        lines += [""] if lines[-1] else []
        for letter in word:
            if font.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


@lru_cache(maxsize=1024)  # every version of every run of a comparison shows the same queries
def _thumbnail(picture: Picture) -> Image.Image:
    copy = picture.load().convert("RGB")
    copy.thumbnail((_CELL, _CELL))
    square = Image.new("RGB", (_CELL, _CELL), "#f4f4f4")
    square.paste(copy, ((_CELL - copy.width) // 2, (_CELL - copy.height) // 2))
    return square
