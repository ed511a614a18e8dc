"""The part of docs/performance.md that puts accuracies beside Avalanche's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

__all__ = ["accuracies"]

ABOUT = """## As accurate as Avalanche

The digits of scikit-learn: **halves**, 0 to 4 and then 5 to 9 under the same five labels; **classes**, two
new digits in each of five experiences. 1,200 pictures to train on and 597 to test on; a network of 64, 100
(ReLU) and as many numbers as labels; SGD, rate 0.05, momentum 0.9; batches of 32 new and 32 stored
examples; memories of 200; 3 epochs an experience. Ours trains in a plain loop (`strategy.experience`),
theirs in Avalanche's template, in one process (`python -m benchmarks peers_accuracy`). Mean accuracy over
all experiences after the last, in per cent, of three seeds; noise is the 95 % half-width of the difference.
Strengths that mean another thing on either side are chosen on another seed, from grids of equal length.

| strategy | stream | clplat | Avalanche | noise | reached | note |
|---|---|---|---|---|---|---|
"""


def accuracies(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table: the mean accuracy of both sides over the seeds, and how much of a difference is noise."""
    below = [f"{row['what']} ({row['stream']})" for row in rows if not row["met"]]
    none = "None is below Avalanche's by more than the noise."
    verdict = f"Below Avalanche's: {', '.join(below)}." if below else none
    return ABOUT + "\n".join(map(_line, rows)) + f"\n\n{verdict}\n\n"


def _line(row: Mapping[str, Any]) -> str:
    cells = (
        row["what"],
        row["stream"],
        f"{mean(row['ours']):.1f}",
        f"{mean(row['theirs']):.1f}",
        f"{row['noise']:.1f}",
        "yes" if row["met"] else "**no**",
        row["note"],
    )
    return f"| {' | '.join(cells)} |"
