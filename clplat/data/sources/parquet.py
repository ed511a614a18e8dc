"""Parquet: one file, or a folder of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from clplat.data.sources.source import Source
from clplat.errors import UserError

__all__ = ["open_parquet"]


def open_parquet(path: Path) -> Source:
    """A Parquet file, or all below a folder in the order of their names; only wanted columns are read.

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
    return Source(path, tuple(schemas[0].names), partial(_read, files))


def _read(files: Sequence[Path], wanted: Sequence[str]) -> pa.Table:
    parts = [parquet.read_table(file, columns=list(wanted)) for file in files]
    return pa.concat_tables(parts, promote_options="permissive")
