"""CSV with a header: read by Arrow, and once more by the standard library to say which row is wrong."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyarrow import csv as arrow_csv

from clplat.data.sources.source import Source
from clplat.errors import UserError

__all__ = ["open_csv"]

_SEPARATORS = (",", ";", "\t", "|")
_LONGEST = 1 << 24  # bytes of a cell


def open_csv(path: Path) -> Source:
    """A CSV file; its separator is what the header has most of: comma, semicolon, tab or bar.

    A cell that is empty, or an unquoted ``NaN``, is a missing one. A byte order mark, ``\\r\\n`` and line
    breaks in quotes are understood.

    Raises:
        UserError: no header, a repeated or an empty name in it, other letters than UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
            separator = max(_SEPARATORS, key=line.count)
            file.seek(0)
            names = next(csv.reader(file, delimiter=separator), [])
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from None
    if not names or not any(name.strip() for name in names):
        raise UserError(f"{path} has no header: its first line must name the columns")
    names = [name.removeprefix("\ufeff") for name in names]
    for name in names:
        if not name.strip() or names.count(name) > 1:
            raise UserError(
                f"{path}: the header has {'an empty name' if not name.strip() else repr(name) + ' twice'}"
            )
    return Source(path, tuple(names), partial(_read, path, separator, len(names)))


def _read(path: Path, separator: str, width: int, wanted: Sequence[str]) -> pa.Table:
    text = dict.fromkeys(wanted, pa.large_string())
    try:
        return arrow_csv.read_csv(
            path,
            arrow_csv.ReadOptions(block_size=_LONGEST),
            arrow_csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            arrow_csv.ConvertOptions(
                include_columns=list(wanted),
                column_types=text,
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                null_values=["", "NaN", "nan"],
            ),
        )
    except pa.ArrowInvalid as error:
        raise _fault(path, separator, width) or UserError(f"{path}: {str(error).splitlines()[0]}") from error


def _fault(path: Path, separator: str, width: int) -> UserError | None:
    """What is wrong with the first row that is; rows are counted after the header, from 1."""
    row = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            csv.field_size_limit(_LONGEST)
            for row, cells in enumerate(filter(None, csv.reader(file, delimiter=separator))):
                if len(cells) != width:
                    return UserError(
                        f"{path}, row {row}: {len(cells)} cells, but the header names {width} columns; "
                        f"a cell with '{separator}' or a line break in it stands in double quotes"
                    )
    except csv.Error as error:
        return UserError(f"{path}, row {row + 1}: {error}")
    except UnicodeDecodeError as error:
        return _not_utf8(path, error)
    return UserError(f"{path} has a header and no rows") if row == 0 else None


def _not_utf8(path: Path, error: UnicodeDecodeError) -> UserError:
    return UserError(f"{path} is not UTF-8: byte {error.object[error.start]:#04x}; save it as UTF-8")
