"""Retrieval grids: reference, change in words, and what was found, as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from clplat.data.records import Item, Picture, RetrievalSet
from clplat.evaluation.lists import Lists
from clplat.files import write_atomically

_CELL = 96  # side of a picture, in pixels
_RIGHT, _WRONG, _INK, _PAPER = "#009e73", "#d55e00", "#222222", "#ffffff"


def save_picture(picture: Image.Image, path: Path) -> None:
    """Write a PNG, whole or not at all."""
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG", compress_level=1))


def draw_grid(
    rows: Sequence[tuple[str, Picture | None, str, Sequence[tuple[Picture | Item, bool | None]]]],
) -> Image.Image:
    """Draw one line per query: its title, the reference, the words, and the results in order.

    Args:
        rows: (title, reference, text, [(picture or item, right?)]); no reference where the query has none,
            ``None`` where nothing is known about an answer. Right answers have a solid green frame with a
            tick, wrong ones a thin orange one, so that colour is not the only sign. An item of words is
            written out.
    """
    if not rows:
        raise ValueError("a grid needs at least one query")
    cell, size, gap = _CELL, 12, 8
    font = ImageFont.load_default(size=size)
    words = int(1.9 * cell)
    columns = max(len(found) for *_, found in rows)
    width = gap + cell + gap + words + (columns * (cell + gap)) + gap
    height = gap + len(rows) * (cell + 2 * gap)
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (title, reference, text, found) in enumerate(rows):
        top = gap + row * (cell + 2 * gap)
        if reference is not None:
            sheet.paste(_thumbnail(reference), (gap, top))
        lines = _wrapped(title, font, words - gap)[:1]
        lines += _wrapped(f"“{text}”", font, words - gap) if text else []
        room = max(2, cell // (size + 3))
        body = "\n".join(lines if len(lines) <= room else [*lines[: room - 1], lines[room - 1][:-1] + "…"])
        draw.multiline_text((2 * gap + cell, top), body, fill=_INK, font=font, spacing=2)
        for place, (shown, right) in enumerate(found):
            left = 2 * gap + cell + words + place * (cell + gap)
            sheet.paste(_card(shown), (left, top))
            if right is not None:
                frame = (left - 2, top - 2, left + cell + 1, top + cell + 1)
                draw.rectangle(frame, outline=_RIGHT if right else _WRONG, width=4 if right else 1)
            if right:
                draw.line(
                    [(left + 7, top + 14), (left + 12, top + 19), (left + 21, top + 8)], fill=_RIGHT, width=4
                )
    return sheet


def query_grid(names: Sequence[str], sets: Sequence[RetrievalSet], lists: Mapping[str, Lists]) -> Image.Image:
    """The first query of every domain with its six best candidates: the same queries for every version."""
    lines: list[tuple[str, Picture | None, str, list[tuple[Picture | Item, bool | None]]]] = []
    for name, held in zip(names, sets, strict=True):
        query, items = held.queries[0], held.gallery.items
        best = [items[g] for g in lists[name].rows[0, :6].tolist() if g >= 0]
        known = held.labels == "known"
        found = [(item, item.key in query.targets if known else None) for item in best]
        lines.append((name, query.reference, " / ".join(query.said), list(found)))
    return draw_grid(lines)


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
