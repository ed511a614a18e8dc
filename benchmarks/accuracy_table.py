"""The part of docs/performance.md that puts accuracies beside Avalanche's and Mammoth's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

__all__ = ["accuracies", "formulas"]

ABOUT = """## As accurate as Avalanche and Mammoth

The digits of scikit-learn: **halves**, 0 to 4 and then 5 to 9 under the same five labels; **classes**, two
new digits in each of five experiences. 1,200 pictures to train on and 597 to test on; a network of 64, 100
(ReLU) and as many numbers as labels; SGD, rate 0.05, momentum 0.9; batches of 32 new and 32 stored
examples; memories of 200; 3 epochs an experience. Ours trains in a plain loop (`strategy.experience`),
theirs in Avalanche's template (`python -m benchmarks peers_accuracy`) or as Mammoth's own model class
(`python -m benchmarks peers_mammoth --mammoth FOLDER`), both sides in one process. Beside Mammoth the
optimizer begins each experience without momentum, as there, and options of ours are set as theirs are.
Mean accuracy over all experiences after the last, in per cent, and its standard deviation over three seeds;
noise is the 95 % half-width of the difference. Strengths that mean another thing on either side are chosen on
another seed, from grids of equal length.

Mammoth was run at commit e75a491. GEM stops on halves there, and LwF, iCaRL, LUCIR, X-DER and SLCA are run on
classes only. How ours differ from the authors' code stands in their recipes.

"""
VIT = """Rows of **vit** are those of Mammoth's models that need a vision transformer (`python -m benchmarks
peers_vit --mammoth FOLDER`): the same stream as classes, cut into patches of 2 x 2 for a transformer of 3
layers of width 48, which both sides begin with. It has learnt to tell the training pictures apart when they
are turned; the nearest mean of its features has 79. Only the classes of an experience compete in training;
Adam, 5 epochs an experience. A strength is then the rate.

"""
CLIP = """Rows of **clip** (`peers_clip`) are the same with a CLIP of 2 layers a tower, which has seen a
hundred upright pictures too and has 24 before the stream; classes are captions, and an experience has 2
epochs.

"""
HEAD = """| strategy | stream | clplat | Avalanche | Mammoth | noise | reached | note |
|---|---|---|---|---|---|---|---|
"""


def accuracies(avalanche: Sequence[Mapping[str, Any]], *mammoth: Sequence[Mapping[str, Any]]) -> str:
    """A table: the mean accuracy of both sides over the seeds, and how much of a difference is noise."""
    peers = [avalanche, [row for rows in mammoth for row in rows]]
    below = [f"{row['what']} ({row['stream']})" for rows in peers for row in rows if not row["met"]]
    none = "None is below a peer's by more than the noise."
    verdict = f"Below a peer's: {', '.join(below)}." if below else none
    lines = [_line(row, place) for place, rows in enumerate(peers) for row in rows]
    streams = {row["stream"] for rows in peers for row in rows}
    more = "".join(text for name, text in (("vit", VIT), ("clip", CLIP)) if name in streams)
    return ABOUT + more + HEAD + "\n".join(lines) + f"\n\n{verdict}\n\n"


def _line(row: Mapping[str, Any], place: int) -> str:
    theirs = ["", ""]
    theirs[place] = _over_seeds(row["theirs"])
    cells = (
        row["what"],
        row["stream"],
        _over_seeds(row["ours"]),
        *theirs,
        f"{row['noise']:.1f}",
        "yes" if row["met"] else "**no**",
        row["note"],
    )
    return f"| {' | '.join(cells)} |"


def _over_seeds(values: Sequence[float]) -> str:
    return f"{mean(values):.1f} ± {stdev(values):.1f}"


FORMULAS = """## The same formulas as Mammoth

With the same parameters and the same pictures, in two experiences: the largest difference of loss, gradients
of all that is trained, and logits of test pictures, relative to the largest number of theirs (`python -m
benchmarks peers_formulas --mammoth FOLDER`).

| what | difference | equal | note |
|---|---|---|---|
"""


def formulas(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table: how far ours is from theirs, where settings are said to be equal."""
    lines = [
        f"| {row['what']} | {row['far']:.0e} | {'yes' if row['met'] else '**no**'} | {row['note']} |"
        for row in rows
    ]
    return FORMULAS + "\n".join(lines) + "\n\n"
