"""What a report is made of: `sweep.json` and the results of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from clplat.documents.outcome import read_outcome
from clplat.documents.result import read_result
from clplat.errors import UserError
from clplat.formats import setting
from clplat.measures import Result, mean_of
from clplat.naming import stream_names

__all__ = [
    "Outcome", "Row", "Runs", "by_group", "is_contender", "name_of", "read_outcome", "read_runs",
    "settings_text",
]  # fmt: skip

Outcome = Mapping[str, Any]
Row = Mapping[str, Any]  # of an outcome's `rows`, `comparisons` or `studies`


@dataclass(frozen=True)
class Runs:
    """The results of a sweep's runs, by folder, and why some could not be read."""

    results: Mapping[str, Result]
    unread: Mapping[str, str]

    def of(self, row: Row) -> list[Result]:
        """The results of a row's replicates that have measured something, in the order of its folders."""
        found = (self.results.get(folder) for folder in row["folders"])
        return [result for result in found if result is not None]

    def positions(self, rows: Sequence[Row]) -> list[str]:
        """Names of the places in the stream: the domains, or "1st", "2nd", ... where the orders differ."""
        return stream_names([result["domains"] for row in rows for result in self.of(row)])

    def mean_table(self, row: Row, primary: str) -> list[list[float | None]]:
        """R of the primary metric by place in the stream, mean over the replicates that have the cell."""
        tables = [result["metrics"][primary] for result in self.of(row)]
        lines = zip_longest(*tables, fillvalue=())  # replicates may have got to different rows
        return [[mean_of(cells) for cells in zip_longest(*line)] for line in lines]


def read_runs(outcome: Outcome, out: Path) -> Runs:
    """Read the result of every run that the rows name; one that cannot be read is noted, not raised."""
    results: dict[str, Result] = {}
    unread: dict[str, str] = {}
    for folder in dict.fromkeys(folder for row in outcome["rows"] for folder in row["folders"]):
        try:
            result = read_result(out / folder / "result.json")
            if not result["metrics"].get(outcome["primary"]):
                raise UserError("nothing was measured yet")
            results[folder] = result
        except UserError as error:
            unread[folder] = str(error)
    return Runs(results, unread)


def by_group(entries: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows, comparisons or studies by their group, in the order in which the groups come."""
    found: dict[str, list[Row]] = {}
    for entry in entries:
        found.setdefault(entry["group"], []).append(entry)
    return found


def is_contender(row: Row) -> bool:
    """Whether a row may win: controls and upper bounds are there to be compared with."""
    return row["kind"] != "control" and not row["bound"]


def name_of(entry: Row) -> str:
    """The label of a row or the method of a study, and its group where there are several."""
    name = str(entry.get("label") or entry["method"])
    return f"{name}, {entry['group']}" if entry["group"] else name


def settings_text(values: Mapping[str, Any]) -> str:
    """Options that have a value, as ``train.lr = 0.001, strategy.size = 50``: others are other methods'."""
    given = (f"{name} = {setting(value)}" for name, value in values.items() if value is not None)
    return ", ".join(given) or "–"
