"""Rows of a table of items, whatever it was written as; new columns are read out of old ones by patterns."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.errors import UserError, nearest

__all__ = ["Row", "read_rows", "table_files"]

#: Column -> what the table says, without blanks around it; "" where it says nothing.
Row = Mapping[str, str]

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
    files: Sequence[Path], header: Sequence[str] | None, extract: Mapping[str, str]
) -> Iterator[Row]:
    """The rows of a table.

    Args:
        files: CSV with a header, JSONL, a JSON array; tab-separated columns without a header; or a folder,
            every picture below which is an item of the single column ``picture``. ``file`` is a further
            column: which file a row is of.
        header: the names of the columns where a file has none.
        extract: column -> a regular expression, each named group of which becomes a column. Where it is found
            nowhere its columns are empty.

    Raises:
        UserError: no such column; a pattern that is none, or names no group.
    """
    patterns = {column: _pattern(column, text) for column, text in extract.items()}
    for path in files:
        for number, row in enumerate(_rows(path, header), 1):
            whole = {"file": path.name} | {str(k): _text(v) for k, v in row.items()}
            for column, pattern in patterns.items():
                if column not in whole:
                    known = ", ".join(whole)
                    raise UserError(
                        f"{path}, row {number}: no column '{column}' to extract from (there: {known})"
                    )
                found = pattern.search(whole[column])
                whole |= {name: (found[name] or "" if found else "").strip() for name in pattern.groupindex}
            yield whole


def _rows(path: Path, header: Sequence[str] | None) -> Iterator[Mapping[str, Any]]:
    if path.is_dir():
        names = (
            p.relative_to(path).as_posix() for p in sorted(path.rglob("*")) if p.suffix.lower() in _PICTURES
        )
        return ({"picture": name} for name in names)
    if header is not None:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return (dict(zip(header, line.split("\t"), strict=False)) for line in lines if line.strip())
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        return iter(json.loads(text))
    if path.suffix == ".jsonl":
        return (json.loads(line) for line in text.splitlines() if line.strip())
    return csv.DictReader(text.splitlines())


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
