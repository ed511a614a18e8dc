"""Rows of one domain and split as training examples and as queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import compute as pc

from clplat.data.example_table import ExampleTable
from clplat.data.folders import stable_hash
from clplat.data.named_items import NamedItems
from clplat.data.records import Query

from .cells import LIST, TEXT

__all__ = ["AND", "parts_of", "queries_of", "training"]

#: Between the texts of a row that are joined.
AND = " and "


def parts_of(rows: pa.Table) -> dict[tuple[str, str], pa.Table]:
    """The rows by domain and split, each part in the order of the table."""
    domain, split = (rows.column(name).combine_chunks().dictionary_encode() for name in ("domain", "split"))
    splits = split.dictionary.to_pylist()
    code = np.asarray(domain.indices) * len(splits) + np.asarray(split.indices)
    order = np.argsort(code, kind="stable")
    found, starts = np.unique(code[order], return_index=True)
    ends = [*starts[1:], len(order)]
    names = domain.dictionary.to_pylist()
    return {
        (names[number // len(splits)], splits[number % len(splits)]): rows.take(pa.array(order[start:end]))
        for number, start, end in zip(found.tolist(), starts, ends, strict=True)
    }


def training(domain: str, rows: pa.Table, items: NamedItems, joined: bool) -> ExampleTable:
    """An example for each text of each row; the first target leads, others are positives.

    Args:
        domain: its name.
        rows: its rows for training.
        items: what names stand for.
        joined: the texts of a row are one.
    """
    held = {name: rows.column(name).combine_chunks() for name in rows.column_names}
    columns: dict[str, Any] = {
        name: held[name] for name in ("id", "reference", "label", "weight") if name in held
    }
    columns["target"] = _firsts(held["targets"])
    columns |= {name: column for name, column in held.items() if name.startswith("group:")}
    if pc.max(pc.list_value_length(held["targets"])).as_py() > 1:
        columns["positives"] = pa.array([names[1:] for names in held["targets"].to_pylist()], LIST)
    if "candidates" in held:
        both = zip(held["candidates"].to_pylist(), held["targets"].to_pylist(), strict=True)
        columns["negatives"] = pa.array([[n for n in names if n not in right] for names, right in both], LIST)
    if "texts" in held:
        columns = _with_texts(columns, held["texts"], joined)
    return ExampleTable(domain, columns, items)


def _with_texts(columns: dict[str, Any], texts: Any, joined: bool) -> dict[str, Any]:
    counts = np.asarray(pc.list_value_length(texts))
    if joined:
        said = pc.if_else(pa.array(counts == 0), pa.scalar(None, TEXT), pc.binary_join(texts, AND))
        return {**columns, "text": said}
    several, times = counts > 1, np.maximum(counts, 1)
    row = np.repeat(np.arange(len(counts)), times)
    number = np.arange(len(row)) - np.repeat(np.cumsum(times) - times, times)
    starts = np.cumsum(counts) - counts
    place = pa.array(starts[row] + number, mask=counts[row] == 0)
    found = {**columns, "text": pc.list_flatten(texts).take(place)}
    if not several.any():
        return found
    found |= {name: column.take(pa.array(row)) for name, column in columns.items()}
    numbered = pc.binary_join_element_wise(found["id"], pc.cast(pa.array(number), TEXT), pa.scalar("/", TEXT))
    return {**found, "id": pc.if_else(pa.array(several[row]), numbered, found["id"])}


def _firsts(lists: Any) -> Any:
    counts = np.asarray(pc.list_value_length(lists))
    return pc.list_flatten(lists).take(pa.array(np.cumsum(counts) - counts))


def queries_of(rows: pa.Table, items: NamedItems, joined: bool, limit: int | None) -> tuple[Query, ...]:
    """A query for each row; several texts are averaged, or are one.

    Args:
        rows: of one domain and split.
        items: what names stand for.
        joined: the texts of a row are one.
        limit: at most so many, those whose ids have the least hashes.
    """
    if limit is not None and len(rows) > limit:
        hashes = [stable_hash("query", name) for name in rows.column("id").to_pylist()]
        rows = rows.take(pa.array(np.sort(np.argsort(hashes, kind="stable")[:limit])))
    return tuple(_query(row, items, joined) for row in _dicts(rows))


def _dicts(rows: pa.Table) -> Iterator[dict[str, Any]]:
    columns = {name: rows.column(name).to_pylist() for name in rows.column_names}
    for cells in zip(*columns.values(), strict=True):
        yield dict(zip(columns, cells, strict=True))


def _query(row: dict[str, Any], items: NamedItems, joined: bool) -> Query:
    said: Sequence[str] = row.get("texts") or ()
    said = [AND.join(said)] if joined and said else said
    name: str | None = row.get("reference")
    keys = items.key
    candidates = row.get("candidates")
    shown = None if name is None else items.picture(name)
    exclude = [keys(one) for one in row.get("exclude") or ()]
    if name is not None and shown is not None and keys(name) != shown.key:
        exclude.append(
            keys(name)
        )  # the item that shows the reference has a text as well, and so a key of its own
    return Query(
        row["id"],
        shown,
        said[0] if said else None,
        tuple(dict.fromkeys(map(keys, row["targets"]))),
        {key[4:]: cell for key, cell in row.items() if key.startswith("tag:") and cell is not None},
        tuple(said[1:]),
        exclude=tuple(dict.fromkeys(exclude)),
        candidates=tuple(dict.fromkeys(map(keys, candidates))) if candidates else None,
    )
