"""NegBench: does the model understand what a caption says is not there?"""

from __future__ import annotations

import csv
from dataclasses import replace
from functools import partial
from pathlib import Path

from clplat.data.decoding import open_picture, picture_file
from clplat.data.items import Picture
from clplat.errors import UserError
from clplat.parts.probes._base import Probe
from clplat.parts.probes._contrasts import Contrast, Contrasts

__all__ = ["NegBench"]

_KEYS = ("image_path", "correct_answer", "caption_0", "caption_1")


class NegBench(Contrasts):
    """Multiple-choice questions about pictures: one of the captions is true, and some of them deny things.

    ``accuracy``, and the same per template of the right answer: ``positive``, ``negative``, ``hybrid``.

    Args:
        file: a table of the benchmark's MCQ task, CSV with the columns ``image_path``, ``correct_answer``
            (0, 1, ...), ``caption_0``, ``caption_1``, ..., and ``correct_answer_template`` if it is known.
        folder: in which the file names of ``image_path`` lie.

    Raises:
        ValueError: no such file or folder, or a table that is not as described.

    Reference:
        Alhamoud et al., "Vision-Language Models Do Not Understand Negation", CVPR 2025, arXiv:2501.09425.
    """

    def __init__(self, file: str, folder: str) -> None:
        self.file, self.folder = file, folder
        if not Path(file).is_file():
            raise ValueError(f"there is no file {file}")
        if not Path(folder).is_dir():
            raise ValueError(f"there is no folder {folder}")
        with Path(file).open(encoding="utf-8", newline="") as table:
            cases = [_case(row, number, file, folder) for number, row in enumerate(csv.DictReader(table))]
        super().__init__(f"negbench/{Path(file).stem}", cases)

    def build(self) -> list[Probe]:
        """The questions about the pictures as they are now.

        Raises:
            UserError: a picture that is not there.
        """
        shown: dict[str, Picture] = {}
        for picture in self.pictures:
            path = Path(self.folder, picture.key.rpartition("/")[2])
            if not path.is_file():
                raise UserError(f"NegBench names the picture {path}, which is not there")
            shown[picture.key] = picture_file(picture.key, path)
        return [Contrasts(self.name, [replace(case, picture=shown[case.picture.key]) for case in self.cases])]


def _case(row: dict[str, str], number: int, file: str, folder: str) -> Contrast:
    missing = [key for key in _KEYS if not (row.get(key) or "").strip()]
    if missing:
        raise ValueError(f"{file}: row {number} has no {missing[0]}")
    captions = [text for key, text in row.items() if key.startswith("caption_") and text]
    if not row["correct_answer"].isdecimal() or int(row["correct_answer"]) >= len(captions):
        raise ValueError(f"{file}: row {number} has no caption {row['correct_answer']}")
    right = captions.pop(int(row["correct_answer"]))
    name = Path(row["image_path"]).name
    picture = Picture(f"negbench/{name}", partial(open_picture, Path(folder, name)))
    return Contrast(picture, (right,), tuple(captions), row.get("correct_answer_template") or "")
