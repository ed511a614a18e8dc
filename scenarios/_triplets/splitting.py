"""Which split a row is of: a column says it, or a stable hash that keeps every picture in one split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from clplat.data.arrow_columns import entries
from clplat.data.folders import SPLITS, split_of
from clplat.errors import UserError, unknown_name

from .cells import TEXT, first_row

__all__ = ["NAMES", "shown_names", "with_split"]

#: Columns of a row that name items.
NAMES = ("reference", "targets", "candidates", "exclude")
_ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
_MOST = 0.5  # of all rows, that may hang together


def with_split(rows: pa.Table, split_by: str | None, where: str) -> tuple[pa.Table, str, int]:
    """The rows with a column ``split`` of ``train``, ``val`` and ``test``.

    Args:
        rows: the table.
        split_by: None for the column ``split`` where there is one and otherwise ``"components"``;
            ``"components"``, ``"pictures"``, or ``"<group>"``, the name of a column among groups and tags.
        where: of messages.

    Returns:
        The rows that have a split; what it was made by; how many rows have none.

    Raises:
        UserError: a split by another name, with its row; rows that hang together.
    """
    if split_by is None and "split" in rows.column_names:
        return _set(rows, _named(rows.column("split"), where)), "column", 0
    by = split_by or "components"
    if by == "components":
        return _set(rows, _by_components(rows, where)), by, 0
    if by == "pictures":
        found = _by_pictures(rows)
        kept = pc.is_valid(found)
        left = len(rows) - pc.sum(kept).as_py()
        if left == len(rows):
            raise UserError(f"{where}: each row has pictures of several splits; name a column of splits")
        return _set(rows, found).filter(kept), by, left
    columns = {name.partition(":")[2]: name for name in rows.column_names if ":" in name}
    if by not in columns:
        raise unknown_name("value of split_by", by, ("components", "pictures", *columns))
    groups = rows.column(columns[by]).combine_chunks()
    if groups.null_count:
        row = first_row(pc.is_null(groups)) + 1
        raise UserError(f"{where}, row {row}: column '{by}' is empty, by which rows are split")
    return _set(rows, _hashed(groups)), by, 0


def shown_names(rows: pa.Table) -> tuple[Any, Any]:
    """All names of items in the rows, and the row of each."""
    return entries([rows.column(name).combine_chunks() for name in NAMES if name in rows.column_names])


def _set(rows: pa.Table, split: Any) -> pa.Table:
    kept = rows.drop_columns(["split"]) if "split" in rows.column_names else rows
    return kept.append_column("split", split)


def _named(column: Any, where: str) -> Any:
    said = column.combine_chunks().dictionary_encode()
    words = said.dictionary.to_pylist()
    for word in words:
        if word.strip().lower() not in _ALIASES:
            row = first_row(pc.equal(column, word)) + 1
            raise UserError(
                f"{where}, row {row}: {unknown_name('split', word, ('train', 'val', 'test', 'validation'))}"
            )
    known = pa.array([_ALIASES[word.strip().lower()] for word in words], TEXT)
    return known.take(said.indices)


def _hashed(names: Any) -> Any:
    """The split of each name by its hash."""
    coded = names.dictionary_encode()
    return pa.array(map(split_of, coded.dictionary.to_pylist()), TEXT).take(coded.indices)


def _by_pictures(rows: pa.Table) -> Any:
    """The split of each row whose pictures are all of one; null for others."""
    names, owners = shown_names(rows)
    coded = names.dictionary_encode()
    number = np.array([SPLITS.index(split_of(name)) for name in coded.dictionary.to_pylist()])
    codes = number[np.asarray(coded.indices)]
    low, high = np.full(len(rows), len(SPLITS)), np.full(len(rows), -1)
    np.minimum.at(low, owners, codes)
    np.maximum.at(high, owners, codes)
    return pa.array(SPLITS, TEXT).take(pa.array(low, mask=low != high))


def _by_components(rows: pa.Table, where: str) -> Any:
    """Rows that share a picture, however many steps apart, are of one split: that of their first name."""
    names, owners = shown_names(rows)
    coded = names.dictionary_encode()
    order = pc.sort_indices(coded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    codes = rank[np.asarray(coded.indices)]
    first = np.full(len(rows), len(order))
    np.minimum.at(first, owners, codes)
    component = _components(len(order), first[owners], codes)[first]
    found, of_row, counts = np.unique(component, return_inverse=True, return_counts=True)
    if counts.max() > _MOST * len(rows) and len(rows) > 1:
        kept = len(rows) - _by_pictures(rows).null_count
        raise UserError(
            f"{where} says no splits, and {counts.max()} of {len(rows)} rows share pictures, step by step: "
            "name a column of splits (--scenario.columns '{split: NAME}'), or choose --scenario.split_by "
            f"pictures, which keeps the {kept} rows whose pictures are of one split"
        )
    firsts = coded.dictionary.take(pa.array(order[found])).to_pylist()
    return pa.array(map(split_of, firsts), TEXT).take(pa.array(of_row))


def _components(size: int, one: Any, other: Any) -> Any:
    """The least member of the component of each of ``size`` nodes, given the edges.

    Every root of a pair takes the smaller one as its parent, then all paths are halved until they are flat.
    """
    parent = np.arange(size)
    while True:
        a, b = parent[one], parent[other]
        apart = a != b
        if not apart.any():
            return parent
        low, high = np.minimum(a[apart], b[apart]), np.maximum(a[apart], b[apart])
        np.minimum.at(parent, high, low)
        while (flat := parent[parent]) is not parent and (flat != parent).any():
            parent = flat
