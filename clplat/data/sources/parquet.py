"""Parquet: one file, or a folder of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from clplat.data.column_pictures import ColumnPictures, has_pictures
from clplat.data.sources.source import Source
from clplat.errors import UserError

__all__ = ["open_parquet"]


def open_parquet(path: Path, inside: ColumnPictures | None = None) -> Source:
    """A Parquet file, or all below a folder in the order of their names; only wanted columns are read.

    Args:
        path: of the file or folder.
        inside: takes the pictures of columns that hold some; those columns are read as their names.

    Raises:
        UserError: a file that is no Parquet, or that has other columns than the first.
    """
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    try:
        schemas = [parquet.read_schema(file) for file in files]
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    for file, schema in zip(files, schemas, strict=True):
        if set(schema.names) != set(schemas[0].names):
            raise UserError(f"{file} has other columns than {files[0]}: {', '.join(schema.names)}")
    inside = ColumnPictures() if inside is None else inside
    shown = {field.name for field in schemas[0] if has_pictures(field.type)}
    reader = partial(_read, files, shown, inside)
    return Source(path, tuple(schemas[0].names), reader, inside if shown else None)


def _read(files: Sequence[Path], shown: Set[str], inside: ColumnPictures, wanted: Sequence[str]) -> pa.Table:
    if not shown & set(wanted):
        parts = [parquet.read_table(file, columns=list(wanted)) for file in files]
    else:  # a row group at a time: pictures are large
        parts = [
            inside.named(group, _cell, str(file), number)
            for file in files
            for number, group in enumerate(_groups(file, wanted))
        ]
    return pa.concat_tables(parts, promote_options="permissive")


def _groups(file: Path, wanted: Sequence[str]) -> Iterator[pa.Table]:
    with parquet.ParquetFile(file) as held:
        for number in range(held.num_row_groups):
            yield held.read_row_group(number, columns=list(wanted))


def _cell(file: str, group: int, column: str, row: int) -> bytes:
    """The bytes of a picture, by its row in a row group."""
    found: bytes = _group(file, group, column)[row]["bytes"].as_py()
    return found


@lru_cache(maxsize=4)
def _group(file: str, group: int, column: str) -> Any:
    return parquet.ParquetFile(file).read_row_group(group, columns=[column]).column(0)
