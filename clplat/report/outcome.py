"""What a report is made of: `sweep.json` and the results of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clplat.errors import UserError
from clplat.files import read_json
from clplat.measures import mean_of
from clplat.naming import stream_names

__all__ = [
    "SCHEMA",
    "Outcome",
    "Result",
    "Row",
    "Runs",
    "Table",
    "by_group",
    "is_contender",
    "read_outcome",
    "read_runs",
    "study_name",
]

Outcome = Mapping[str, Any]
Row = Mapping[str, Any]
Result = Mapping[str, Any]
Table = list[list[float | None]]

SCHEMA = 1


def read_outcome(out: Path) -> dict[str, Any]:
    """Read ``out/sweep.json``.

    Raises:
        UserError: it is missing, broken or of a schema that this version cannot read.
    """
    path = out / "sweep.json"
    outcome = read_json(path)
    schema = outcome.get("schema") if isinstance(outcome, dict) else None
    if schema != SCHEMA:
        raise UserError(f"{path} has schema {schema!r}; this version of clplat reads schema {SCHEMA}")
    return dict(outcome)


@dataclass(frozen=True)
class Runs:
    """The results of a sweep's runs, by folder, and why some could not be read."""

    results: Mapping[str, Result]
    unread: Mapping[str, str]

    def of(self, row: Mapping[str, Any]) -> list[Result]:
        """The results of a row's replicates that have measured something, in the order of its folders."""
        found = (self.results.get(folder) for folder in row["folders"])
        return [result for result in found if result is not None]

    def orders(self, rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
        """The stream orders that the runs of these rows really had, each once."""
        orders = [tuple(result["domains"]) for row in rows for result in self.of(row)]
        return [list(order) for order in dict.fromkeys(orders)]

    def positions(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        """Names of the places in the stream: the domains, or "1st", "2nd", ... where the orders differ."""
        return stream_names(self.orders(rows))

    def mean_table(self, row: Mapping[str, Any], primary: str) -> Table:
        """R of the primary metric by place in the stream, mean over the replicates that have the cell."""
        tables = [result["metrics"][primary] for result in self.of(row)]
        height = max(map(len, tables), default=0)
        columns = (
            zip(*(table[i] for table in tables if len(table) > i), strict=False) for i in range(height)
        )
        return [[mean_of(values) for values in row] for row in columns]


def read_runs(outcome: Outcome, out: Path) -> Runs:
    """Read the result of every run that the rows name; one that cannot be read is noted, not raised."""
    results: dict[str, Result] = {}
    unread: dict[str, str] = {}
    for folder in dict.fromkeys(folder for row in outcome["rows"] for folder in row["folders"]):
        try:
            result = read_json(out / folder / "result.json")
        except UserError as error:
            unread[folder] = str(error)
            continue
        if result["metrics"].get(outcome["primary"]):
            results[folder] = result
        else:
            unread[folder] = "nothing was measured yet"
    return Runs(results, unread)


def by_group(entries: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows, comparisons or studies by their group, in the order in which the groups come."""
    found: dict[str, list[Row]] = {}
    for entry in entries:
        found.setdefault(entry["group"], []).append(entry)
    return found


def is_contender(row: Mapping[str, Any]) -> bool:
    """Whether a row may win: controls and upper bounds are there to be compared with."""
    return row["kind"] != "control" and not row["bound"]


def study_name(study: Mapping[str, Any]) -> str:
    """The method of a study, and its group where there are several."""
    return f"{study['method']}, {study['group']}" if study["group"] else str(study["method"])
