"""The rows of a table with the columns that a stream is made of, whatever they were called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pyarrow import compute as pc

from clplat.data.sources.source import Source
from clplat.errors import UserError

from .cells import TEXT, first_row, lists, mappings, numbers, texts
from .columns import chosen_columns

__all__ = ["read_rows"]


def read_rows(
    source: Source, columns: Mapping[str, str], separator: str | None, partial: bool, hidden: bool = False
) -> tuple[pa.Table, dict[str, list[str]]]:
    """The rows, and which columns they come from.

    Args:
        source: the table.
        columns: role -> name, see `clplat.scenarios.Triplets`.
        separator: between the entries of a list in a cell.
        partial: rows may lack the reference or the text.
        hidden: rows may lack the target.

    Returns:
        Columns ``id``, ``reference``, ``texts``, ``targets``, ``candidates``, ``exclude``, ``tag:<name>``,
        ``group:<name>`` and others by their role; those that the table has. And role -> names.

    Raises:
        UserError: what is missing or wrong, with its row.
    """
    chosen = chosen_columns(source.path, source.names, columns)
    table, where = source.read([name for names in chosen.values() for name in names]), str(source.path)
    if not len(table):
        raise UserError(f"{where} has no rows")
    found: dict[str, Any] = {}
    for role, names in chosen.items():
        held = [(name, table.column(name)) for name in names]
        name, column = held[0]
        if role in ("tags", "groups"):
            found |= {f"{role[:-1]}:{key}": cells for key, cells in mappings(held, where).items()}
        elif role in ("text", "target", "candidates", "exclude"):
            plural = {"text": "texts", "target": "targets"}.get(role, role)
            found[plural] = lists(column, name, separator, where)
        elif role == "weight":
            found[role] = numbers(column, name, where)
        else:
            found[role] = texts(column, name, where)
    found.setdefault("id", pc.cast(pa.array(range(1, len(table) + 1)), TEXT))
    _complete(found, chosen, partial, hidden, where)
    return pa.table(found), chosen


def _complete(
    found: Mapping[str, Any], chosen: Mapping[str, list[str]], partial: bool, hidden: bool, where: str
) -> None:
    """Refuse a row that lacks what it needs."""
    lacks = {
        role: pc.is_null(found[role])
        for role in ("id", "domain", "split", "time", "reference")
        if role in found
    }
    for role, plural in (("text", "texts"), ("target", "targets")):
        if plural in found and not (hidden and role == "target"):
            lacks[role] = pc.equal(pc.list_value_length(found[plural]), 0)
    asks = [role for role in ("reference", "text") if role in lacks]
    if partial and len(asks) == 2:
        both = pc.and_(lacks.pop("reference"), lacks.pop("text"))
        if pc.any(both).as_py():
            raise UserError(f"{where}, row {first_row(both) + 1}: it has neither a reference nor a text")
    for role, missing in lacks.items():
        if pc.any(missing).as_py():
            count, name = pc.sum(missing).as_py(), chosen[role][0]
            hint = (
                "; rows of words or pictures alone are allowed by --scenario.partial true"
                if role in asks
                else "; sets whose answers a server knows are allowed by --scenario.hidden true"
                if role == "target"
                else ""
            )
            raise UserError(
                f"{where}, row {first_row(missing) + 1}: column '{name}' is empty, as in {count} of "
                f"{len(missing)} rows{hint}"
            )
