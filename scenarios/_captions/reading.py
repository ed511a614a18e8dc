"""Captioned pictures from a file: Karpathy's JSON, COCO's JSON, or any table."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.data.sources.opened import existing_table, open_table
from clplat.errors import UserError, unknown_name

__all__ = ["ROLES", "Captions", "read_captions"]

#: What a table may say of a picture, and the names that its columns usually have.
ROLES: dict[str, tuple[str, ...]] = {
    "picture": ("picture", "image", "filepath", "path", "file_name", "filename", "image_path"),
    "caption": ("caption", "captions", "text", "title", "raw_caption"),
    "split": ("split",),
    "domain": ("domain", "dataset", "source"),
    "time": ("time", "year", "date", "timestamp", "created_utc", "dateuploaded"),
}
_SPLITS = {
    **{"train": "train", "restval": "train", "training": "train"},
    **{"val": "val", "valid": "val", "validation": "val", "dev": "val"},
    "test": "test",
}


@dataclass(frozen=True)
class Captions:
    """One picture and what is said of it.

    Args:
        picture: its name.
        texts: its captions, in the order of the file.
        split: ``train``, ``val`` or ``test``; empty where the file does not say.
        domain: empty where the file does not say.
        time: as it is written; empty where the file does not say.
    """

    picture: str
    texts: tuple[str, ...]
    split: str = ""
    domain: str = ""
    time: str = ""


def read_captions(path: Path, columns: Mapping[str, str] | None = None) -> list[Captions]:
    """Read a file of captions; rows of one picture become one record, in the order of first rows.

    Args:
        path: ``dataset_coco.json`` as Karpathy made them, ``captions_val2017.json`` of COCO, or a table with
            a row per caption or per picture: JSON Lines, a JSON list, CSV, TSV, Parquet.
        columns: role -> column, in place of the usual names.

    Raises:
        UserError: no such file or column, a row without a picture or with an empty caption, an unknown split.
    """
    found = existing_table(path)
    for role in columns or ():
        if role not in ROLES:
            raise unknown_name("role in columns", role, ROLES)
    document = _document(found)
    rows = _table(found, columns or {}) if document is None else _json(document, found)
    grouped: dict[tuple[str, str], Captions] = {}
    for number, row in enumerate(rows, 1):
        said = _checked(row, f"{found}: entry {number}")
        held = grouped.get((said.domain, said.picture))
        if held is not None:
            if held.split != said.split:
                raise UserError(
                    f"{found}: entry {number}: picture '{said.picture}' is in {said.split} here and in "
                    f"{held.split} before"
                )
            said = Captions(held.picture, (*held.texts, *said.texts), held.split, held.domain, held.time)
        grouped[said.domain, said.picture] = said
    if not grouped:
        raise UserError(f"{found} holds no captions")
    return list(grouped.values())


def _document(path: Path) -> dict[str, Any] | None:
    """The JSON of a file that is one object; None for a table."""
    if path.is_dir() or path.suffix.lower() != ".json":
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError:  # several objects, a line each: the reader of tables says what is wrong
        return None
    return found if isinstance(found, dict) and "images" in found else None


def _json(document: Mapping[str, Any], path: Path) -> Iterator[Captions]:
    images = document["images"]
    if "annotations" in document:
        names = {image["id"]: image["file_name"] for image in images}
        for note in document["annotations"]:
            if note.get("image_id") not in names:
                raise UserError(
                    f"{path}: an annotation is of image {note.get('image_id')}, which is not listed"
                )
            yield Captions(names[note["image_id"]], (str(note.get("caption", "")),))
        return
    for image in images:
        if "filename" not in image or "sentences" not in image:
            raise UserError(
                f"{path}: an image without 'filename' or 'sentences' (allowed: Karpathy's JSON, COCO's)"
            )
        folder = f"{image['filepath']}/" if image.get("filepath") else ""
        texts = tuple(str(sentence.get("raw", "")) for sentence in image["sentences"])
        yield Captions(folder + image["filename"], texts, str(image.get("split", "")))


def _table(path: Path, columns: Mapping[str, str]) -> Iterator[Captions]:
    source = open_table(path)
    known = {name.lower(): name for name in reversed(source.names)}
    named: dict[str, str] = {}
    for role, usual in ROLES.items():
        found = columns.get(role) or next((known[name] for name in usual if name in known), None)
        if found is not None:
            named[role] = found
    for role in ("picture", "caption"):
        if role not in named:
            raise UserError(
                f"{path} has no column for the {role} (usual: {', '.join(ROLES[role])}; it has: "
                f"{', '.join(source.names)}); name it: --scenario.columns '{{{role}: NAME}}'"
            )
    held = source.read(list(named.values()))
    rows: Iterable[Sequence[Any]] = zip(*(held[name].to_pylist() for name in named.values()), strict=True)
    for row in rows:
        cells = dict(zip(named, row, strict=True))
        said = cells.pop("caption")
        texts = _said(said)
        yield Captions(
            texts=texts, **{role: "" if cell is None else str(cell) for role, cell in cells.items()}
        )


def _said(cell: Any) -> tuple[str, ...]:
    """The captions of a cell: a list, a list in Python's notation as NegBench writes it, or one text."""
    if isinstance(cell, str) and cell[:2] in ("['", '["') and cell.endswith("]"):
        try:
            cell = ast.literal_eval(cell)
        except (SyntaxError, ValueError):
            return (cell,)
    if isinstance(cell, list):
        return tuple(map(str, cell))
    return ("" if cell is None else str(cell),)


def _checked(row: Captions, where: str) -> Captions:
    if not row.picture.strip():
        raise UserError(f"{where}: no picture is named")
    if not row.texts or any(not text.strip() for text in row.texts):
        raise UserError(f"{where}: picture '{row.picture}' has an empty caption")
    if row.split and row.split.lower() not in _SPLITS:
        raise UserError(f"{where}: unknown split '{row.split}' (allowed: {', '.join(_SPLITS)})")
    texts = tuple(" ".join(text.split()) for text in row.texts)
    return Captions(row.picture, texts, _SPLITS.get(row.split.lower(), ""), row.domain, row.time)
