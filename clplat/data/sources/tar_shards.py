"""Shards as `webdataset` writes them: tar files in which the members of one row stand together.

``000017.json`` has the cells of row ``000017``; ``000017.text.txt`` is its cell ``text`` and
``000017.reference.jpg`` the picture of its cell ``reference``. A cell may also name a picture that stands
anywhere in the shards, by the member's name.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from clplat.data.sources.json_lines import columns_of
from clplat.data.sources.source import Source
from clplat.data.tar_pictures import ENDINGS, Member, TarPictures
from clplat.errors import UserError
from clplat.files import parsed

__all__ = ["open_shards"]


def open_shards(path: Path) -> Source:
    """A tar file, or all of a folder in the order of their names. Only headers and texts are read.

    Raises:
        UserError: a file that is no tar, a cell that is no JSON, no rows.
    """
    shards = sorted(path.glob("*.tar")) if path.is_dir() else [path]
    members: dict[str, Member] = {}
    rows: list[dict[str, Any]] = []
    for number, shard in enumerate(shards):
        try:
            rows += _rows(shard, number, members)
        except tarfile.TarError as error:
            raise UserError(f"{shard} cannot be read as a tar file: {error}") from error
    names = dict.fromkeys(name for row in rows for name in row)
    if not names:
        raise UserError(
            f"{path} has no rows: a row is a member such as 000017.json, 000017.text.txt or 000017.target.jpg"
        )
    return Source(path, tuple(names), partial(_read, path, rows), TarPictures(shards, members))


def _rows(shard: Path, number: int, members: dict[str, Member]) -> Iterator[dict[str, Any]]:
    """The rows of a shard; its pictures join ``members``."""
    with tarfile.open(shard, "r:") as tar:
        last = None
        row: dict[str, Any] = {}
        for member in tar:
            if not member.isfile():
                continue
            folder, slash, bare = member.name.rpartition("/")
            stem, _, field = bare.partition(".")
            if f"{folder}{slash}{stem}" != last:
                yield from [row] if row else []
                last, row = f"{folder}{slash}{stem}", {}
            row |= _cells(tar, shard, member, field, number, members)
            tar.members = []  # type: ignore[attr-defined]  # or it would remember all of them
        yield from [row] if row else []


def _cells(
    tar: tarfile.TarFile,
    shard: Path,
    member: tarfile.TarInfo,
    field: str,
    number: int,
    members: dict[str, Member],
) -> dict[str, Any]:
    """What a member says of its row."""
    name, _, ending = field.rpartition(".")
    if f".{ending.lower()}" in ENDINGS:
        members[member.name] = (number, member.offset_data, member.size)
        return {name: member.name} if name else {}
    if ending not in ("json", "txt"):
        return {}
    file = tar.extractfile(member)
    content = file.read() if file is not None else b""
    where = f"{shard}, {member.name}"
    if ending == "txt":
        try:
            return {name or "text": content.decode("utf-8-sig").rstrip("\r\n")}
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: {error}") from None
    cells = parsed(content, where)
    if name:
        return {name: cells}
    if not isinstance(cells, dict):
        raise UserError(f"{where}: a row must be an object, not {content[:40].decode(errors='replace')}")
    return cells


def _read(path: Path, rows: Sequence[dict[str, Any]], wanted: Sequence[str]) -> pa.Table:
    return columns_of(rows, wanted, str(path))
