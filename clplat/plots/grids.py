"""One picture per query, a column per method: cut out of the retrieval grids that the methods' runs drew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from PIL import Image, ImageDraw, ImageFont
from typing_extensions import TypedDict

from clplat.documents.checked import AS_LIST, checked
from clplat.errors import UserError
from clplat.files import parsed

__all__ = ["Found", "last_grid", "read_grid", "side_by_side"]

_CELL, _GAP, _HEAD, _ROWS = 150, 14, 72, 5  # pixels: a picture, a space, a head; answers
_RIGHT, _INK, _SOFT = "#009e73", "#222222", "#666666"


#: Left, top, right, bottom.
_Box: TypeAlias = Annotated[tuple[int, int, int, int], AS_LIST]


class _Line(TypedDict):
    """Where in the picture a query, its answers and what was wanted are."""

    query: str
    text: str
    rank: int | None
    reference: _Box | None
    wanted: _Box | None
    best: list[Annotated[tuple[_Box, bool | None], AS_LIST]]


@dataclass(frozen=True)
class Found:
    """What one version found for one query.

    Args:
        query: names the query: its domain.
        text: the words of the query.
        rank: of the best-placed wanted item, 1 being the first; None where that is not known.
        reference: the reference picture, if the query has one.
        wanted: the picture of that item.
        best: pictures of the best answers, and whether each is right.
    """

    query: str
    text: str
    rank: int | None
    reference: Image.Image | None
    wanted: Image.Image | None
    best: Sequence[tuple[Image.Image, bool | None]]


def last_grid(folder: Path) -> Path | None:
    """The picture of the newest version in a folder of grids, ``step_<version>.png``."""
    steps = {int(path.stem[5:]): path for path in folder.glob("step_*.png") if path.stem[5:].isdigit()}
    return steps[max(steps)] if steps else None


def read_grid(path: Path) -> list[Found]:
    """The queries of a retrieval grid; empty where its file does not say what is where.

    Raises:
        OSError: the file is no picture.
        UserError: it says something else of its queries than `clplat.retrieval_grid.draw_grid` does.
    """
    with Image.open(path) as picture:
        held = parsed(str(picture.info.get("queries", "[]")).encode(), path)
        lines: list[_Line] = checked(held, list[_Line], path, "retrieval grid")
        sheet = picture.convert("RGB")

    def cut(box: _Box | None) -> Image.Image | None:
        return None if box is None else sheet.crop(box)

    return [
        Found(
            line["query"],
            line["text"],
            line["rank"],
            cut(line["reference"]),
            cut(line["wanted"]),
            [(sheet.crop(box), right) for box, right in line["best"]],
        )
        for line in lines
    ]


def side_by_side(grids: Mapping[str, Path], colours: Mapping[str, str]) -> dict[str, Image.Image]:
    """One picture per query; grids that are no picture, or do not say what is where, are left out.

    Args:
        grids: method -> the grid of its newest version, the best method first.
        colours: of the methods.

    Returns:
        The name of each query -> its picture. Methods that were asked something else are not in it.
    """
    found: dict[str, dict[str, Found]] = {}
    for method, path in grids.items():
        try:
            for one in read_grid(path):
                columns = found.setdefault(one.query, {})
                if all(other.text == one.text for other in columns.values()):
                    columns[method] = one
        except (OSError, ValueError, UserError):  # an illustration must not cost the page
            continue
    return {query: _drawn(columns, colours) for query, columns in found.items()}


def _drawn(columns: Mapping[str, Found], colours: Mapping[str, str]) -> Image.Image:
    first, step = next(iter(columns.values())), _CELL + _GAP
    most = min(_ROWS, max(len(one.best) for one in columns.values()))
    top = _CELL + 3 * _GAP + _HEAD
    width = _GAP + max(len(columns), 5) * step
    sheet = Image.new("RGB", (width, top + most * step), "white")
    draw = ImageDraw.Draw(sheet)
    body, strong = ImageFont.load_default(size=21), ImageFont.load_default(size=23)
    left = _GAP
    if first.reference is not None:
        _paste(sheet, first.reference, left, _GAP)
        left += step
    room = width - left - (step if first.wanted is not None else 0) - _GAP
    draw.text((left, _GAP), _fitted(first.query, strong, room), fill=_INK, font=strong)
    draw.multiline_text((left, _GAP + 32), _wrapped(first.text, body, room, 4), fill=_INK, font=body)
    if first.wanted is not None:
        _paste(sheet, first.wanted, width - step, _GAP, True)
        draw.text((width - step, _CELL + _GAP + 2), "wanted", fill=_RIGHT, font=body)
    for place, (method, one) in enumerate(columns.items()):
        left, line = _GAP + place * step, top - _HEAD
        draw.rectangle((left, line, left + _CELL, line + 4), fill=colours.get(method, _INK))
        draw.text((left, line + 9), _fitted(method, body, _CELL), fill=_INK, font=body)
        rank = "" if one.rank is None else f"rank {one.rank}"
        draw.text((left, line + 37), rank, fill=_RIGHT if one.rank == 1 else _SOFT, font=body)
        for k, (picture, right) in enumerate(one.best[:_ROWS]):
            _paste(sheet, picture, left, top + k * step, right)
    return sheet


def _paste(sheet: Image.Image, picture: Image.Image, left: int, top: int, right: bool | None = None) -> None:
    """A picture, with a frame and a tick where it is right."""
    sheet.paste(picture.resize((_CELL, _CELL), Image.Resampling.LANCZOS), (left, top))
    if right:
        draw = ImageDraw.Draw(sheet)
        draw.rectangle((left - 3, top - 3, left + _CELL + 2, top + _CELL + 2), outline=_RIGHT, width=5)
        draw.line([(left + 10, top + 20), (left + 17, top + 27), (left + 30, top + 12)], fill=_RIGHT, width=5)


def _fitted(text: str, font: Any, width: float) -> str:
    """One line of at most ``width`` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _wrapped(text: str, font: Any, width: float, most: int) -> str:
    """At most so many lines."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    kept = lines[:most] if len(lines) <= most else [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return "\n".join(_fitted(line, font, width) for line in kept)
