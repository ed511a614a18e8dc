"""JSON: an object per line, or one array of objects; read by Arrow where its columns are of one type."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import json as arrow_json

from clplat.data.sources.source import Source
from clplat.errors import UserError
from clplat.files import parsed

__all__ = ["columns_of", "open_json_lines"]

_LOOKED_AT = 1000
_AT_ONCE = 1 << 16
_LONGEST = 1 << 24  # bytes of a line


def open_json_lines(path: Path) -> Source:
    """A JSON file: a row is an object. The columns are those of the first thousand rows.

    Raises:
        UserError: no rows, a row that is no object, other letters than UTF-8.
    """
    held: dict[str, list[Any]] = {}
    for row in islice(_rows(path), _LOOKED_AT):
        for name, value in row.items():
            held.setdefault(name, []).append(value)
    if not held:
        raise UserError(f"{path} has no rows")
    return Source(path, tuple(held), partial(_read, path, held))


def _read(path: Path, held: dict[str, list[Any]], wanted: Sequence[str]) -> pa.Table:
    types = {name: _type(held[name]) for name in wanted}
    if None in types.values() or _is_array(path):
        return columns_of(_rows(path), wanted, str(path))
    try:
        return arrow_json.read_json(
            path,
            arrow_json.ReadOptions(block_size=_LONGEST),
            arrow_json.ParseOptions(
                explicit_schema=pa.schema(list(types.items())), unexpected_field_behavior="ignore"
            ),
        ).select(list(wanted))
    except pa.ArrowInvalid:  # a column of several types, or NaN: Python reads them, or says the row
        return columns_of(_rows(path), wanted, str(path))


def columns_of(rows: Iterable[dict[str, Any]], wanted: Sequence[str], where: str) -> pa.Table:
    """Rows as columns of texts, or of lists of texts where a row has a list; other things stay JSON.

    Raises:
        UserError: a list of something else than texts and numbers, by the number of the row.
    """
    parts: dict[str, list[Any]] = {name: [] for name in wanted}
    done, rows = 0, iter(rows)
    while some := list(islice(rows, _AT_ONCE)):
        for name in wanted:
            cells = [_cell(row.get(name), name, f"{where}, row {done + i}") for i, row in enumerate(some, 1)]
            several = any(isinstance(cell, list) for cell in cells)
            if several:
                cells = [[cell] if isinstance(cell, str) else cell for cell in cells]
            kind = pa.large_list(pa.large_string()) if several else pa.large_string()
            parts[name].append(pa.array(cells, kind))
        done += len(some)
    return pa.table({name: _joined(chunks) for name, chunks in parts.items()})


def _joined(chunks: Sequence[Any]) -> Any:
    """Chunks of one column; some may have lists, others texts."""
    kinds = {chunk.type for chunk in chunks}
    if len(kinds) > 1:
        several = pa.large_list(pa.large_string())
        chunks = [
            c if c.type == several else pa.array([None if x is None else [x] for x in c.to_pylist()], several)
            for c in chunks
        ]
    return pa.chunked_array(chunks)


def _cell(value: Any, name: str, where: str) -> str | list[str] | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, list):
        if not all(isinstance(one, (str, int)) for one in value):
            raise UserError(f"{where}: column '{name}' has a list of more than texts and numbers")
        return [str(one) for one in value]
    if isinstance(value, bool | dict):
        return json.dumps(value, sort_keys=True)
    return str(value)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows as Python reads them."""
    entries: Iterable[Any] = parsed(path.read_bytes(), path) if _is_array(path) else _lines(path)
    for number, row in enumerate(entries, 1):
        if not isinstance(row, dict):
            raise UserError(f"{path}, row {number}: a row must be an object, not {json.dumps(row)[:40]}")
        yield row


def _is_array(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"[")


def _lines(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        for number, line in enumerate(filter(bytes.strip, file), 1):
            yield parsed(line, f"{path}, row {number}")


def _type(values: Sequence[Any]) -> Any:
    """Arrow's type of a column, or None where Python must look at every cell."""
    there = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in there):
        return pa.large_string()
    if all(isinstance(value, list) and all(isinstance(one, str) for one in value) for value in there):
        return pa.list_(pa.string())  # of large ones Arrow reads none here
    if all(isinstance(value, int) and not isinstance(value, bool) for value in there):
        return pa.int64()
    return None
