"""Columns of names in Arrow, of one or a list of them in a row, walked without making a name in Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clplat.extras import named_extras

with named_extras("columns of Arrow"):
    import pyarrow as pa
    from pyarrow import compute as pc

__all__ = ["distinct", "entries"]


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
