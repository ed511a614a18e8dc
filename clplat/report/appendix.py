"""The end of the page: what failed and why, and how to repeat the sweep."""

from __future__ import annotations

from collections.abc import Sequence

from clplat.formats import number, setting
from clplat.report.outcome import Outcome, Row, Runs
from clplat.report.tables import Column, Part, Table

__all__ = ["facts", "failure_table", "folder_table", "notices"]


def notices(outcome: Outcome, runs: Runs) -> list[str]:
    """What a reader must know before the answer: an unfinished sweep, missing replicates, failures."""
    lines = []
    if outcome["status"] == "running":
        lines.append("This sweep is still running, or was interrupted: the page shows what there is so far.")
    most = max((row["n"] for row in outcome["rows"]), default=0)
    short = [f"{row['label']} ({row['n']} of {most})" for row in outcome["rows"] if row["n"] < most]
    if short:
        lines.append(f"Fewer replicates than the others: {', '.join(short)}.")
    failed = len(outcome["failures"])
    if failed:
        lines.append(
            f"{failed} {'run' if failed == 1 else 'runs'} failed; the reasons are near the end of this page."
        )
    if most == 1:
        lines.append(
            "One replicate per method: intervals cover the choice of queries, not the luck of training."
        )
    if runs.unread:
        lines.append(
            f"{len(runs.unread)} of the runs could not be read: curves and matrices are without them."
        )
    return lines


def failure_table(outcome: Outcome, runs: Runs) -> Table | None:
    """Runs that failed or could not be read, with the reason; None if there are none."""
    known = {failure["folder"] for failure in outcome["failures"]}
    unread = [
        {"label": folder, "folder": folder, "why": why}
        for folder, why in runs.unread.items()
        if folder not in known
    ]
    columns = [
        Column("run", lambda failure: str(failure["label"]), "name"),
        Column("folder", lambda failure: str(failure["folder"])),
        Column("why", lambda failure: str(failure["why"])),
    ]
    failures = [*outcome["failures"], *unread]
    return Table("What failed, and why", columns, [Part(failures)]) if failures else None


def facts(outcome: Outcome) -> list[tuple[str, str]]:
    """Names and values of what a repetition must have in common with this sweep."""
    budget = outcome["budget"]
    limits = {"trials": "{} trials", "seconds": "{} s", "tflops": "{} TFLOP"}
    allowed = [limits[key].format(setting(budget[key])) for key in limits if budget.get(key) is not None]
    limited = [f"{name} at most {number(float(value))}" for name, value in outcome["constraints"].items()]
    found = [
        ("scenario", outcome["scenario"]),
        ("domains", ", ".join(outcome["domains"])),
        ("seeds", ", ".join(map(str, outcome["seeds"]))),
        ("objectives", ", ".join(outcome["objectives"])),
        ("limits", ", ".join(limited)),
        ("budget of a study", ", ".join(allowed)),
        ("code", ", ".join(outcome["code"])),
        ("versions", ", ".join(f"{name} {version}" for name, version in sorted(outcome["versions"].items()))),
    ]
    return [(name, value) for name, value in found if value]


def folder_table(rows: Sequence[Row]) -> Table | None:
    """Where the runs of each method lie, from the folder of the sweep."""
    columns = [
        Column("method", lambda r: f"{r['label']}, {r['group']}" if r["group"] else str(r["label"]), "name"),
        Column("what sets it apart", _settings),
        Column("folders of its runs (result.json, config.yaml)", lambda row: ", ".join(row["folders"])),
    ]
    return Table("Runs", columns, [Part(rows)]) if rows else None


def _settings(row: Row) -> str:
    return ", ".join(f"{key} = {setting(value)}" for key, value in row["settings"].items()) or "–"
