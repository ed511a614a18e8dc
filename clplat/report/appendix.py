"""The end of the page: what failed and why, and how to repeat the sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clplat.formats import number, setting
from clplat.report.outcome import Outcome, Runs
from clplat.report.tables import Cell, Part, Table, words

__all__ = ["facts", "failure_table", "folder_table", "notices"]


def notices(outcome: Outcome, runs: Runs) -> list[str]:
    """What a reader must know before the answer: an unfinished sweep, missing replicates, failures."""
    said = []
    if outcome["status"] == "running":
        said.append("This sweep is still running, or was interrupted: the page shows what there is so far.")
    most = max((row["n"] for row in outcome["rows"]), default=0)
    short = [f"{row['label']} ({row['n']} of {most})" for row in outcome["rows"] if row["n"] < most]
    if short:
        said.append(f"Fewer replicates than the others: {', '.join(short)}.")
    failed = len(outcome["failures"])
    if failed:
        said.append(
            f"{failed} {'run' if failed == 1 else 'runs'} failed; the reasons are near the end of this page."
        )
    if most == 1:
        said.append(
            "One replicate a method: intervals cover the choice of queries, not the luck of training."
        )
    if runs.unread:
        said.append(
            f"{len(runs.unread)} of the runs could not be read: curves and matrices are without them."
        )
    return said


def failure_table(outcome: Outcome, runs: Runs) -> Table | None:
    """Runs that failed or could not be read, with the reason; None if there are none."""
    lines = [[Cell(f["label"]), Cell(f["folder"]), Cell(f["why"])] for f in outcome["failures"]]
    told = {failure["folder"] for failure in outcome["failures"]}
    lines += [
        [Cell(folder), Cell(folder), Cell(why)] for folder, why in runs.unread.items() if folder not in told
    ]
    return Table("What failed, and why", words("run", "folder", "why"), [Part(lines)]) if lines else None


def facts(outcome: Outcome) -> list[tuple[str, str]]:
    """Names and values of what a repetition must have in common with this sweep."""
    budget = outcome["budget"]
    limits = {"trials": "{} trials", "seconds": "{} s", "tflops": "{} TFLOP"}
    allowed = [limits[key].format(setting(budget[key])) for key in limits if budget.get(key) is not None]
    held = [f"{name} at most {number(float(value))}" for name, value in outcome["constraints"].items()]
    found = [
        ("scenario", outcome["scenario"]),
        ("domains", ", ".join(outcome["domains"])),
        ("seeds", ", ".join(map(str, outcome["seeds"]))),
        ("objectives", ", ".join(outcome["objectives"])),
        ("limits", ", ".join(held)),
        ("budget of a study", ", ".join(allowed)),
        ("code", ", ".join(outcome["code"])),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(outcome["versions"].items()))),
    ]
    return [(name, value) for name, value in found if value]


def folder_table(rows: Sequence[Mapping[str, Any]]) -> Table | None:
    """Where the runs of each method lie, from the folder of the sweep."""
    lines = [
        [
            Cell(f"{row['label']}, {row['group']}" if row["group"] else row["label"]),
            Cell(", ".join(f"{key} = {setting(value)}" for key, value in row["settings"].items()) or "–"),
            Cell(", ".join(row["folders"])),
        ]
        for row in rows
    ]
    columns = words("method", "what sets it apart", "folders of its runs (result.json, config.yaml)")
    return Table("Runs", columns, [Part(lines)]) if lines else None
