"""Pictures of a page, and the retrieval grids among them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from clplat.plots.canvas import jpeg_data
from clplat.report.outcome import Row, is_contender

__all__ = ["Picture", "grid_pictures"]


@dataclass(frozen=True)
class Picture:
    """A figure as ``data:`` address, what it says in words, a caption; ``wide`` ones take all the width."""

    data: str
    says: str
    caption: str = ""
    wide: bool = False
    size: tuple[int, int] | None = None


def grid_pictures(rows: Sequence[Row], out: Path) -> list[Picture]:
    """The same queries before and after, for the best contender and, as a contrast, for the last one."""
    shown = [row for row in rows if is_contender(row)] or list(rows)
    pictures: list[Picture] = []
    seen: set[str] = set()
    for row in shown[:1] + shown[1:][-1:]:
        folder = next((out / name for name in row["folders"] if (out / name / "grids").is_dir()), None)
        steps = [] if folder is None else sorted((folder / "grids").glob("step_*.png"), key=_step)
        for path in dict.fromkeys([*steps[:1], *steps[-1:]]):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest in seen:  # untrained models find the same
                continue
            seen.add(digest)
            try:
                data, *size = jpeg_data(path)
            except OSError:  # an illustration that cannot be read must not cost the page
                continue
            when = "Before training" if _step(path) == 0 else f"After {_step(path)} domains: {row['label']}"
            says = f"{when}: queries, each a reference and words, with their best answers in order."
            pictures.append(Picture(data, says, when, wide=True, size=(size[0], size[1])))
    return pictures


def _step(path: Path) -> int:
    number = path.stem.rpartition("_")[2]
    return int(number) if number.isdigit() else -1
