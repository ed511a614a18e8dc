"""The end of the page: what failed and why, and how to repeat the sweep."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from clplat.formats import number, setting
from clplat.measures import describe
from clplat.report.outcome import Outcome, Row, Runs, name_of, settings_text
from clplat.report.tables import Column, Part, Table

__all__ = ["facts", "failure_table", "folder_table", "notices", "stream_orders"]


def notices(outcome: Outcome, runs: Runs) -> list[str]:
    """What a reader must know before the answer: an unfinished sweep, missing replicates, failures."""
    most = max((row["n"] for row in outcome["rows"]), default=0)
    short = [f"{row['label']} ({row['n']} of {most})" for row in outcome["rows"] if row["n"] < most]
    failed, unread = len(outcome["failures"]), len(runs.unread)
    texts = {
        "This sweep is still running, or was interrupted: the page shows what there is so far.": (
            outcome["status"] == "running"
        ),
        f"Fewer replicates than the others: {', '.join(short)}.": short,
        f"{failed} run{'s' * (failed > 1)} failed; the reasons are near the end of this page.": failed,
        "One replicate per method: intervals cover the choice of queries, not the luck of training.": most
        == 1,
        f"{unread} of the runs could not be read: curves and matrices are without them.": unread,
    }
    return [text for text, true in texts.items() if true]


def failure_table(outcome: Outcome, runs: Runs) -> Table | None:
    """Runs that failed or could not be read, with the reason; None if there are none."""
    known = {failure["folder"] for failure in outcome["failures"]}
    unread = (dict(label=folder, folder=folder, why=why) for folder, why in runs.unread.items())
    failures = [*outcome["failures"], *(run for run in unread if run["folder"] not in known)]
    columns = [
        Column("run", itemgetter("label"), "name"),
        Column("folder", itemgetter("folder")),
        Column("why", itemgetter("why")),
    ]
    return Table("What failed, and why", columns, [Part(failures)], stacked=True) if failures else None


def facts(outcome: Outcome) -> list[tuple[str, str]]:
    """Names and values of what a repetition must have in common with this sweep."""
    budget = outcome["budget"]
    limits = {"trials": "{} trials", "seconds": "{} s", "tflops": "{} TFLOP"}
    allowed = [limits[key].format(setting(budget[key])) for key in limits if budget.get(key) is not None]
    limited = [
        f"{name} {describe(name).within} {number(float(value))}"
        for name, value in outcome["constraints"].items()
    ]
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


def stream_orders(outcome: Outcome) -> list[str]:
    """The order of the domains in each replicate, in words."""
    return ["the scenario's own" if o == "own" else ", ".join(o) for o in outcome["orders"]]


def folder_table(rows: Sequence[Row]) -> Table | None:
    """Where the runs of each method lie, from the folder of the sweep."""
    columns = [
        Column("method", name_of, "name"),
        Column("what sets it apart", lambda row: settings_text(row["settings"])),
        Column("folders", lambda row: ", ".join(row["folders"])),
    ]
    caption = "Runs: each folder holds result.json and config.yaml"
    return Table(caption, columns, [Part(rows)], stacked=True) if rows else None
