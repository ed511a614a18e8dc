"""The rows of ``results/*.json`` and ``results/ledger/*.json`` that measured one part or one recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from clplat.config.raw import merge
from clplat.config.recipes import Recipe
from clplat.config.resolve import resolve
from clplat.errors import UserError
from clplat.tables.sweep import sweep_table
from clplat.tables.text import markdown
from sweeps.ledger.page import read_entries, table
from sweeps.publish import read_ledger

__all__ = ["rows_of_part", "rows_of_recipe", "rows_of_system"]

Row = Mapping[str, Any]


def rows_of_part(slot: str, name: str) -> list[str]:
    """The tables of all rows that name this part, as Markdown; those that have it by default are left out."""
    return _tables(lambda entry, row: _own(entry, row).get(slot, {}).get("name") == name)


def rows_of_recipe(recipe: Recipe) -> list[str]:
    """The tables of all rows whose configuration is the recipe's, as Markdown."""
    wanted = {(slot, key): value for slot, given in recipe.config.items() for key, value in given.items()}

    def same(entry: Row, row: Row) -> bool:
        config = _config(entry["name"], row["label"], row["group"])
        return all(config.get(slot, {}).get(key) == value for (slot, key), value in wanted.items())

    return _tables(same)


def rows_of_system(name: str) -> list[str]:
    """The recipe's rows in the ledger of all systems, as Markdown."""
    lines = []
    for entry in read_entries():
        rows = [row for row in entry["rows"] if row["system"] == name and "score" in row]
        if rows:
            title = f"[Ledger of all systems](../ledger.md#{entry['stream']}), {entry['stream']}, measured"
            lines += [f"{title} {rows[0].get('date', entry['date'])}:", "", *table(rows), ""]
    return lines


def _tables(keep: Callable[[Row, Row], bool]) -> list[str]:
    lines = []
    for entry in _ledger().values():
        rows = [row for row in entry["rows"] if keep(entry, row)]
        if rows:
            anchor = entry["name"].lower().replace(" ", "-")
            title = f"[{entry['name'].capitalize()}](../findings.md#{anchor}), measured {entry['date']}:"
            lines += [title, "", markdown(*sweep_table({**entry, "rows": rows})), ""]
    return lines


def _own(entry: Row, row: Row) -> dict[str, Any]:
    """What the row's method says, without what all rows of the sweep have in common."""
    methods = entry["description"]["methods"]
    named = methods.get(row["method"]) if isinstance(methods, Mapping) else None
    given = {"strategy": row["strategy"]} if named is None else named
    return merge(given, row["params"])


@cache
def _config(sweep: str, label: str, group: str) -> dict[str, Any]:
    """The resolved configuration of a row; empty where an option of then is none of today."""
    entry = next(entry for entry in _ledger().values() if entry["name"] == sweep)
    row = next(row for row in entry["rows"] if (row["label"], row["group"]) == (label, group))
    plan = entry["description"]
    raw = merge(plan["base"], plan["groups"].get(group, {}))
    try:
        return resolve(merge(raw, _own(entry, row))).as_dict()
    except UserError:  # the ledger is older than the options
        return {}


@cache
def _ledger() -> dict[str, dict[str, Any]]:
    return read_ledger()
