"""What is committed of a study: an entry for each stream, and what queries take.

A study of hours is published in parts: what was measured replaces its row, what was not stays as it was
measured before, with the day and the code of that.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.files import read_json, write_json
from clplat.provenance import library_versions

__all__ = ["Published", "days", "joined"]

_LATENCY = "latency"
#: What two measurements must share for their rows to stand in one table.
_PROTOCOL = ("about", "base", "orders", "primary")


@dataclass(frozen=True)
class Published:
    """JSON files in a folder of results, written with their day.

    Args:
        folder: below the root of the repository.
    """

    folder: Path

    def write(
        self, entry: Mapping[str, Any], root: Path, known: Collection[str] | None = None
    ) -> dict[str, Any]:
        """Write the entry of its stream, with rows of earlier ones that it has not measured.

        Args:
            known: names of all systems of the study; rows of others are not kept. None: all are known.

        Returns:
            What was written.
        """
        path = root / self.folder / f"{entry['stream']}.json"
        written = joined(entry, read_json(path) if path.exists() else {}, known, _today())
        write_json(path, written)
        return written

    def entries(self, root: Path) -> list[dict[str, Any]]:
        """All entries, by name of the stream."""
        paths = sorted((root / self.folder).glob("*.json"))
        return [read_json(path) for path in paths if path.stem != _LATENCY]

    def write_latency(self, timed: Mapping[str, Any], root: Path) -> None:
        """Write what queries take, by name of what was timed."""
        content = {"date": _today(), "versions": library_versions(), **timed}
        write_json(root / self.folder / f"{_LATENCY}.json", content)

    def latency(self, root: Path) -> dict[str, Any]:
        """What was timed; nothing where nothing was."""
        path = root / self.folder / f"{_LATENCY}.json"
        found: dict[str, Any] = read_json(path) if path.exists() else {}
        return found


def joined(
    entry: Mapping[str, Any], earlier: Mapping[str, Any], known: Collection[str] | None, day: str
) -> dict[str, Any]:
    """An entry with the rows of an earlier one of equal protocol that have more replicates than its own.

    Example:
        >>> old = {"seeds": [0, 1], "date": "2026-01-01", "code": ["a"], "rows": [{"system": "er", "n": 2}]}
        >>> new = {"seeds": [0], "code": ["b"], "rows": [{"system": "er", "n": 0}, {"system": "der", "n": 1}]}
        >>> found = joined(new, old, ["er", "der"], "2026-02-01")
        >>> [(row["system"], row["date"], row["code"]) for row in found["rows"]], found["seeds"]
        ([('er', '2026-01-01', ['a']), ('der', '2026-02-01', ['b'])], [0, 1])
    """
    rows = {row["system"]: {**row, "date": day, "code": entry["code"]} for row in entry["rows"]}
    seeds = entry["seeds"]
    if earlier and all(earlier.get(key) == entry.get(key) for key in _PROTOCOL):
        seeds = max(seeds, earlier["seeds"], key=len)
        of = {"date": earlier["date"], "code": earlier["code"]}
        for row in earlier["rows"]:
            name = row["system"]
            if (known is None or name in known) and row["n"] > rows.get(name, {"n": -1})["n"]:
                rows[name] = {**of, **row}
    places = {name: place for place, name in enumerate(known or ())}
    ordered = sorted(rows.values(), key=lambda row: places.get(row["system"], -1))
    code = sorted({code for row in ordered if row["n"] for code in row["code"]})
    return {**entry, "seeds": list(seeds), "rows": ordered, "code": code, "date": day}


def days(entry: Mapping[str, Any]) -> str:
    """When the rows of an entry were measured.

    Example:
        >>> days({"date": "2026-02-01", "rows": [{"n": 1, "date": "2026-01-01"}, {"n": 2}]})
        '2026-01-01 to 2026-02-01'
    """
    found = sorted({row.get("date", entry["date"]) for row in entry["rows"] if row["n"]}) or [entry["date"]]
    return found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _today() -> str:
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()
