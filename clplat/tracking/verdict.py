"""The sentence of a sweep about runs that are in MLflow, as far as their folders are on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clplat.documents.result import read_result
from clplat.errors import UserError
from clplat.evaluation.significance import interval
from clplat.measures import MEASURES
from clplat.naming import flat
from clplat.roles import role_of
from clplat.sweep.comparisons import comparisons, sentence
from clplat.sweep.rows import Replicates, Row, replicate_of, split_of

__all__ = ["verdict"]

_TRAINED = MEASURES["trainable_parameters"].column


def verdict(rows: Sequence[Mapping[str, Any]], folders: Mapping[tuple[str, str, str], Sequence[Path]]) -> str:
    """A line per scenario.

    Args:
        rows: of `clplat.tracking.compare`, best first.
        folders: (scenario, variant, label) -> folders of the runs, where the values of their queries are.
    """
    lines = []
    for scenario in dict.fromkeys(str(row["scenario"]) for row in rows):
        mine = [row for row in rows if row["scenario"] == scenario]
        found = [_row(row, folders[scenario, row["variant"], row["label"]]) for row in mine]
        known = sorted((row for row in found if row is not None), key=lambda row: -row.plain["score"]["mean"])
        lost = [row["label"] for row, read in zip(mine, found, strict=True) if read is None]
        said = (
            [f"On {scenario}: {sentence([row.plain for row in known], comparisons(known))}"] if known else []
        )
        if lost:
            said.append(f"Not compared, because their folders are not on this machine: {', '.join(lost)}.")
        lines.append(" ".join(said))
    return "\n".join(lines) or "No complete run yet."


def _row(row: Mapping[str, Any], folders: Sequence[Path]) -> Row | None:
    trained: Replicates = {}
    start: Replicates = {}
    for folder in folders:
        try:
            result = read_result(folder / "result.json")
            options = flat(result["config"])
            key = int(options.get("seed", 0)), str(options.get("scenario.order"))
            split = split_of(result)
            trained[key], start[key] = replicate_of(folder, result), replicate_of(folder, result, 0)
        except (UserError, OSError, KeyError):
            return None
    score = interval(list(trained.values()))
    control = role_of(row) == "upper bound" or not row[_TRAINED]
    plain = {key: row[key] for key in ("label", "strategy")} | {
        "group": "",
        "method": row["label"],
        "kind": "control" if control else "default",
        "bound": role_of(row) == "upper bound",
        "n": len(trained),
        "split": split,
        "score": {key: getattr(score, key) for key in ("mean", "sd", "low", "high")},
    }
    return Row(plain, trained, start)
