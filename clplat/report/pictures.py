"""Pictures of a page: drawn figures, and the retrieval grids of the runs."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clplat.plots.canvas import svg_data
from clplat.plots.grids import last_grid, side_by_side
from clplat.plots.styles import Style
from clplat.report.figure.request import Drawing
from clplat.report.outcome import Row, is_contender

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Picture", "drawn_pictures", "grid_pictures"]

_COLUMN = 7.0  # inches: a wider figure needs the whole width, and scrolls on a phone
_LARGEST = (1000, 2400)  # pixels of a retrieval grid in a page
_METHODS, _QUERIES = 8, 6  # side by side, and one below the other


@dataclass(frozen=True)
class Picture:
    """A figure as ``data:`` address, what it says in words, a caption; ``wide`` ones take all the width."""

    data: str
    says: str
    caption: str = ""
    wide: bool = False


def drawn_pictures(drawings: Iterable[tuple[str, Drawing | None]]) -> list[Picture]:
    """Drawings with their captions; those that have nothing to show are left out."""
    return [
        Picture(svg_data(drawn[0]), drawn[1], caption, wide=drawn[0].get_figwidth() > _COLUMN)
        for caption, drawn in drawings
        if drawn
    ]


def grid_pictures(rows: Sequence[Row], out: Path, styles: Mapping[str, Style]) -> list[Picture]:
    """What the methods find for a query of each domain, side by side, the best method first."""
    folders = {row["label"]: out / row["folders"][0] / "grids" for row in rows[:_METHODS] if row["folders"]}
    grids = {label: grid for label, folder in folders.items() if (grid := last_grid(folder))}
    colours = {label: styles[label].colour for label in grids}
    found = side_by_side(grids, colours)
    pictures = [
        _jpeg(
            picture,
            query,
            f"One query of {query}: its reference and words, and what {', '.join(grids)} found.",
        )
        for query, picture in list(found.items())[:_QUERIES]
    ]
    return pictures or _before_and_after(rows, out)


def _before_and_after(rows: Sequence[Row], out: Path) -> list[Picture]:
    """Of grids that do not say what is where (release 0.1.0): those of the best and the last contender."""
    shown = [row for row in rows if is_contender(row)] or list(rows)
    pictures: dict[str, Picture] = {}  # by content: untrained models find the same
    for row in shown[:1] + shown[1:][-1:]:
        folder = next((out / name for name in row["folders"] if (out / name / "grids").is_dir()), out)
        steps = sorted((folder / "grids").glob("step_*.png"), key=_step)
        for path in dict.fromkeys([*steps[:1], *steps[-1:]]):
            when = "Before training" if _step(path) == 0 else f"After {_step(path)} domains: {row['label']}"
            try:
                pictures.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), _grid(path, when))
            except OSError:  # an illustration that cannot be read must not cost the page
                continue
    return list(pictures.values())


def _grid(path: Path, when: str) -> Picture:
    from PIL import Image

    with Image.open(path) as picture:
        sheet = picture.convert("RGB")
    return _jpeg(
        sheet, when, f"{when}: queries, each a reference and words, with their best answers in order."
    )


def _jpeg(picture: Image.Image, caption: str, says: str) -> Picture:
    """A picture no larger than a page needs."""
    picture.thumbnail(_LARGEST)
    target = io.BytesIO()
    picture.save(target, format="JPEG", quality=78, optimize=True)
    data = "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()
    return Picture(data, says, caption, wide=True)


def _step(path: Path) -> int:
    number = path.stem.rpartition("_")[2]
    return int(number) if number.isdigit() else -1
