"""Pictures with true and false captions from files: SugarCrepe's, ARO's, and tables of one's own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from clplat.data.picture_files import PictureFiles
from clplat.data.sources.opened import existing_table, open_table
from clplat.errors import UserError
from clplat.parts import Contrast, Contrasts, Probe, Probes

__all__ = ["Choices"]

#: What an entry says, and the names that it usually has.
_ROLES = {
    "picture": ("filename", "image_path", "picture", "image", "file_name", "filepath"),
    "right": ("caption", "true_caption", "right", "positive", "pos"),
    "wrong": ("negative_caption", "false_caption", "wrong", "negative", "neg"),
}


class Choices(Probes):
    """The share of pictures to which the true caption is nearer than every false one, a probe per file.

    Args:
        files: name -> file: SugarCrepe's JSON (``{"0": {filename, caption, negative_caption}}``), ARO's (a
            list of ``{image_path, true_caption, false_caption}``), or a table with such columns.
        pictures: the folder that names of pictures are relative to.
        suite: what the probes' names begin with.

    Raises:
        ValueError: no files.

    Reference:
        Hsieh et al., "SugarCrepe: Fixing Hackable Benchmarks for Vision-Language Compositionality", NeurIPS
        2023 (datasets and benchmarks), arXiv:2306.14610.
    """

    #: SugarCrepe's files since commit 546eb51 of RAIVNLab/sugar-crepe; the paper has one more of swap_obj.
    published: ClassVar[Mapping[str, int]] = {
        **{"add_att": 692, "add_obj": 2062, "replace_att": 788, "replace_obj": 1652, "replace_rel": 1406},
        **{"swap_att": 666, "swap_obj": 245},
    }

    def __init__(self, files: dict[str, str], pictures: str, suite: str = "choices") -> None:
        if not files:
            raise ValueError("files must name at least one file")
        self.files, self.pictures, self.suite = files, pictures, suite

    def build(self) -> list[Probe]:
        """A probe per file.

        Raises:
            UserError: a file or the folder is missing or not as described, or a picture is not there.
        """
        found = PictureFiles(self.pictures, self.suite)
        probes: list[Probe] = []
        for name, file in self.files.items():
            path = existing_table(file)
            cases = [_case(row, f"{path}: entry {i}", found) for i, row in enumerate(_entries(path), 1)]
            if not cases:
                raise UserError(f"{path} holds no captions")
            probes.append(Contrasts(f"{self.suite}/{name}", cases))
        if found.absent:
            gone = ", ".join(found.absent[:3])
            raise UserError(f"probe choices: {len(found.absent)} pictures are not in {self.pictures}: {gone}")
        return probes


def _entries(path: Path) -> Iterator[Mapping[str, Any]]:
    if path.suffix.lower() == ".json":
        try:
            held = json.loads(path.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise UserError(f"{path} is no JSON: {error}") from None
        yield from held.values() if isinstance(held, dict) else held
        return
    source = open_table(path)
    names = [
        name for name in source.names if name == "kind" or any(name in usual for usual in _ROLES.values())
    ]
    yield from source.read(names).to_pylist()


def _case(row: Any, where: str, files: PictureFiles) -> Contrast:
    said: dict[str, tuple[str, ...]] = {}
    for role, usual in _ROLES.items():
        cell = next((row[name] for name in usual if name in row), None) if isinstance(row, Mapping) else None
        texts = tuple(map(str, cell)) if isinstance(cell, Sequence) and not isinstance(cell, str) else (cell,)
        if not all(isinstance(text, str) and text.strip() for text in texts):
            raise UserError(f"{where} has no {role} (usual: {', '.join(usual)})")
        said[role] = tuple(str(text) for text in texts)
    picture = files.picture(said["picture"][0])
    return Contrast(picture, said["right"], said["wrong"], str(row.get("kind") or ""))
