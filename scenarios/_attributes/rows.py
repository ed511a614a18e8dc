"""Rows of a table of items, whatever it was written as; new columns are read out of old ones by patterns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.data.column_pictures import ColumnPictures
from clplat.data.sources.opened import open_table
from clplat.errors import UserError, nearest, unknown_name

__all__ = ["Row", "read_rows", "table_files"]

#: Column -> what the table says, without blanks around it; "" where it says nothing.
Row = Mapping[str, str]

_AT_ONCE = 1 << 14
_PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


def table_files(table: str) -> list[Path]:
    """The file or folder of a table, or the files that a pattern such as ``labels/*_train.txt`` fits.

    Raises:
        UserError: there is none.
    """
    path = Path(table).expanduser()
    if path.exists():
        return [path]
    found = sorted(path.parent.glob(path.name)) if path.parent.is_dir() else []
    if not found:
        siblings = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"no such table: {path}{nearest(path.name, siblings)}")
    return found


def read_rows(
    files: Sequence[Path],
    header: Sequence[str] | None,
    extract: Mapping[str, str],
    wanted: Sequence[str],
    inside: ColumnPictures | None = None,
) -> Iterator[Row]:
    """The rows of a table.

    Args:
        files: tables that `open_table` reads; tab-separated columns without a header; or a folder, every
            picture below which is an item of the single column ``picture``. ``file`` is a further column:
            which file a row is of.
        header: the names of the columns where a file has none.
        extract: column -> a regular expression, each named group of which becomes a column. Where it is found
            nowhere its columns are empty.
        wanted: the columns that are needed, those that are extracted included.
        inside: takes the pictures of columns that hold some.

    Raises:
        UserError: no such column; a pattern that is none, or names no group; what a reader refuses.
    """
    patterns = {column: _pattern(column, text) for column, text in extract.items()}
    made = {"file", *(group for pattern in patterns.values() for group in pattern.groupindex)}
    read = [name for name in dict.fromkeys([*wanted, *extract]) if name not in made]
    for path in files:
        for row in _rows(path, header, read, inside):
            whole = {"file": path.name} | {name: _text(value) for name, value in row.items()}
            for column, pattern in patterns.items():
                found = pattern.search(whole[column])
                whole |= {name: (found[name] or "" if found else "").strip() for name in pattern.groupindex}
            yield whole


def _rows(
    path: Path, header: Sequence[str] | None, wanted: Sequence[str], inside: ColumnPictures | None
) -> Iterator[Mapping[str, Any]]:
    if path.is_dir() and not _holds_table(path):
        _refuse_absent(path, wanted, ("picture",))
        names = (found for found in sorted(path.rglob("*")) if found.suffix.lower() in _PICTURES)
        yield from ({"picture": found.relative_to(path).as_posix()} for found in names)
    elif header is not None:
        _refuse_absent(path, wanted, header)
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        for number, line in enumerate(lines, 1):
            cells = line.split("\t")
            if len(cells) != len(header) and line.strip():
                raise UserError(f"{path}, row {number}: {len(cells)} cells, but header names {len(header)}")
            if line.strip():
                yield dict(zip(header, cells, strict=True))
    else:
        for batch in open_table(path, inside).read(wanted).to_batches(_AT_ONCE):
            yield from batch.to_pylist()


def _holds_table(folder: Path) -> bool:
    """Whether a folder is a table rather than pictures."""
    files = ("dataset_info.json", "dataset_dict.json", "*.tar", "**/*.parquet")
    return any(next(folder.glob(pattern), None) is not None for pattern in files)


def _refuse_absent(path: Path, wanted: Sequence[str], there: Sequence[str]) -> None:
    for name in wanted:
        if name not in there:
            raise unknown_name(f"column of {path.name}", name, there)


def _text(value: Any) -> str:
    return "" if value is None or value != value else str(value).strip()


def _pattern(column: str, text: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UserError(f"extract: the pattern for '{column}' is no regular expression: {error}") from None
    if not pattern.groupindex:
        raise UserError(f"extract: the pattern for '{column}' names no group; write (?P<colour>red|blue)")
    return pattern
