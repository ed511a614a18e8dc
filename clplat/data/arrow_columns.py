"""Columns of names in Arrow, of one or a list of them in a row, walked without making a name in Python."""

from __future__ import annotations

from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import Any

import numpy as np

from clplat.extras import named_extras

with named_extras("columns of Arrow"):
    import pyarrow as pa
    from pyarrow import compute as pc

__all__ = ["distinct", "entries", "escaped", "letters", "one_array"]

#: Bytes that JSON writes as they are.
_AS_IT_IS = np.array([32 <= byte < 127 and chr(byte) not in '"\\' for byte in range(256)])


def entries(columns: Sequence[Any]) -> tuple[Any, Any]:
    """All entries of columns, one column behind the other, and the row of each; null ones are left out.

    Args:
        columns: arrays of texts, or of lists of texts.

    Example:
        >>> names, rows = entries([pa.array(["a", None]), pa.array([["b", "a"], ["c"]])])
        >>> names.to_pylist(), rows.tolist()
        (['a', 'b', 'a', 'c'], [0, 0, 0, 1])
    """
    names, rows = [], []
    for column in columns:
        if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            held, of = pc.list_flatten(column), np.asarray(pc.list_parent_indices(column))
        else:
            held, of = column, np.arange(len(column))
        if held.null_count:
            there = pc.is_valid(held)
            held, of = held.filter(there), of[np.asarray(there)]
        names.append(held)
        rows.append(of)
    return pa.concat_arrays(names), np.concatenate(rows)


def distinct(columns: Sequence[Any]) -> Any:
    """The distinct entries of columns, in the order in which they are first met row by row.

    Example:
        >>> distinct([pa.array(["a", "b"]), pa.array(["c", "a"])]).to_pylist()
        ['a', 'c', 'b']
    """
    names, rows = entries(columns)
    if len(columns) == 1:
        return pc.unique(names)
    coded = names.dictionary_encode()
    return coded.dictionary.take(pc.unique(coded.indices.take(pa.array(np.argsort(rows, kind="stable")))))


def letters(column: Any) -> Any:
    """The bytes of an array of large texts, one text behind the other; nothing is copied.

    Example:
        >>> bytes(letters(pa.array(["ab", "c", "d"], pa.large_string())[1:]))
        b'cd'
    """
    _, places, held = column.buffers()
    if held is None:
        return np.zeros(0, np.uint8)
    start, stop = np.frombuffer(places, np.int64)[[column.offset, column.offset + len(column)]]
    return np.frombuffer(held, np.uint8)[start:stop]


def escaped(column: Any) -> Any:
    """An array of large texts, each as it stands between the quotes of `json.dumps`.

    Example:
        >>> escaped(pa.array(["a", 'b"'], pa.large_string())).to_pylist()
        ['a', 'b\\\\"']
    """
    if _AS_IT_IS[letters(column)].all():
        return column
    return pa.array([quoted(text)[1:-1] for text in column.to_pylist()], pa.large_string())


def one_array(column: Any, kind: Any) -> Any:
    """A column as one array of a type: looking up a cell needs no search for its chunk."""
    if not isinstance(column, pa.Array | pa.ChunkedArray):
        return pa.array(column, kind)
    cast = column.cast(kind)
    return cast.combine_chunks() if isinstance(cast, pa.ChunkedArray) else cast
