"""Cells of any format as texts, lists of texts, numbers and mappings; what is wrong is said with its row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from clplat.errors import UserError

__all__ = ["LIST", "TEXT", "first_row", "lists", "mappings", "numbers", "texts"]

TEXT = pa.large_string()
LIST = pa.large_list(TEXT)


def texts(column: Any, name: str, where: str) -> Any:
    """A column of texts; empty ones and NaN are null.

    Raises:
        UserError: it holds something else than texts and whole numbers.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_null(kind):
        return pa.nulls(len(column), TEXT)
    if pa.types.is_floating(kind):  # whole numbers beside missing ones, as data frames have them
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
        if not pc.all(pc.equal(pc.floor(column), column), min_count=0).as_py():
            raise UserError(f"{where}: column '{name}' holds fractions where names or texts are wanted")
        column = column.cast(pa.int64())
    elif not (pa.types.is_integer(kind) or pa.types.is_temporal(kind) or _is_text(kind)):
        raise UserError(f"{where}: column '{name}' holds {kind} where texts are wanted")
    column = _whole(column.cast(TEXT))
    blank = pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(column)), 0)
    return pc.if_else(blank, pa.scalar(None, TEXT), column) if pc.any(blank).as_py() else column


def lists(column: Any, name: str, separator: str | None, where: str) -> Any:
    """A column of lists of texts; a text is a list of one, a missing one an empty list.

    Args:
        column: lists; or texts, each a JSON list, entries with a separator between them, or one entry.
        separator: between entries of a text.

    Raises:
        UserError: a text that begins as a JSON list and is none; an empty entry.
    """
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        column = _whole(pc.fill_null(column.cast(LIST), pa.scalar([], LIST)))
    else:
        single = texts(column, name, where)
        is_json = pc.fill_null(pc.match_substring_regex(single, r'^\s*\[\s*["\]]'), False)
        if pc.any(is_json).as_py():
            return _parsed(single, is_json, name, separator, where)
        if separator is not None:
            column = pc.fill_null(pc.split_pattern(single, separator), pa.scalar([], LIST)).cast(LIST)
        else:
            there = np.asarray(pc.is_valid(single)).astype(np.int64)
            starts = np.concatenate([[0], np.cumsum(there)])
            column = pa.LargeListArray.from_arrays(pa.array(starts), pc.drop_null(single))
    entries = pc.list_flatten(column)
    blank = pc.fill_null(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(entries)), 0), True)
    if pc.any(blank).as_py():
        row = pc.list_parent_indices(column)[first_row(blank)].as_py()
        raise UserError(f"{where}, row {row + 1}: column '{name}' has an empty entry in its list")
    return column


def _parsed(single: Any, is_json: Any, name: str, separator: str | None, where: str) -> Any:
    found: list[list[str]] = []
    for row, (cell, held) in enumerate(zip(single.to_pylist(), is_json.to_pylist(), strict=True), 1):
        if not held:
            found.append([] if cell is None else cell.split(separator) if separator else [cell])
            continue
        try:
            entries = json.loads(cell)
        except json.JSONDecodeError as error:
            raise UserError(
                f"{where}, row {row}: column '{name}' begins as a JSON list and is none: {error}"
            ) from None
        found.append([str(entry) for entry in entries])
    return lists(pa.array(found, LIST), name, separator, where)


def numbers(column: Any, name: str, where: str) -> Any:
    """A column of numbers, null where there is none.

    Raises:
        UserError: a cell that is none, or is not finite.
    """
    if _is_text(column.type):
        column = texts(column, name, where)
    try:
        found = _whole(column.cast(pa.float64()))
    except pa.ArrowInvalid:
        row = next(i for i, cell in enumerate(column.to_pylist(), 1) if not _is_number(cell))
        raise UserError(
            f"{where}, row {row}: column '{name}' holds '{column[row - 1].as_py()}', which is no number"
        ) from None
    wrong = pc.fill_null(pc.invert(pc.is_finite(found)), False)
    if pc.any(wrong).as_py():
        raise UserError(f"{where}, row {first_row(wrong) + 1}: column '{name}' is not finite")
    return found


def mappings(columns: Sequence[tuple[str, Any]], where: str) -> dict[str, Any]:
    """Texts by name: of columns by their names, of a column of JSON objects or structs by the names inside.

    Raises:
        UserError: a cell that begins as a JSON object and is none.
    """
    found: dict[str, Any] = {}
    for name, column in columns:
        if pa.types.is_struct(column.type):
            held = column.to_pylist()
        else:
            cells = texts(column, name, where)
            if not pc.any(pc.starts_with(cells, "{")).as_py():
                found[name] = cells
                continue
            held = [
                _object(cell, name, f"{where}, row {row}") for row, cell in enumerate(cells.to_pylist(), 1)
            ]
        for key in dict.fromkeys(key for row in held for key in row or ()):
            entries = [(row or {}).get(key) for row in held]
            found[key] = pa.array([None if one is None else str(one) for one in entries], TEXT)
    return found


def _object(cell: str | None, name: str, where: str) -> dict[str, Any]:
    try:
        held = json.loads(cell) if cell else {}
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: column '{name}' is no JSON: {error}") from None
    if not isinstance(held, dict):
        raise UserError(f'{where}: column \'{name}\' must hold an object such as {{"colour": "red"}}')
    return held


def first_row(mask: Any) -> int:
    """The first row where it is true, from 0."""
    return int(pc.index(mask, True).as_py())


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return cell is None
    return True
