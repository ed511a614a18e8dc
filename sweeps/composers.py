"""Which composer for which domain?

Queries are made of a picture and words as their plain sum, on the great arc between them with more of the
picture or more of the words, or by the combiner network; once on frozen towers and once with the towers
trained through it. The stream, the data and the strategy are the same: replay, so that a domain's number
does not only tell when it came. On frozen towers nothing but the combiner has anything to train.

    python sweeps/composers.py --workers 2
    python sweeps/composers.py --workers 2 --scenario.train 2000 --train.epochs 5 --seeds 0,1,2,3,4

A laptop size: a few minutes on two cores. More triplets, epochs and seeds make it serious.
"""

from __future__ import annotations

import sys
from typing import Any

from clplat.cli import script
from clplat.sweep import Sweep
from sweeps import question_of

TOWERS: dict[str, dict[str, Any]] = {"frozen": {"adapter": "none"}, "trained": {"adapter": "full"}}
# Half way along the arc is the sum: the arc differs from it only off the middle.
COMPOSERS: dict[str, dict[str, Any]] = {
    "sum": {"name": "sum"},
    "arc, more picture": {"name": "slerp", "alpha": 0.35},
    "arc, more words": {"name": "slerp", "alpha": 0.65},
    "combiner": {"name": "combiner"},
}


def method(towers: str, composer: str) -> dict[str, Any]:
    """Replay wherever something is trained."""
    trains = towers == "trained" or composer == "combiner"
    return {**TOWERS[towers], "composer": COMPOSERS[composer], "strategy": "replay" if trains else "frozen"}


SWEEP = Sweep(
    name="composers",
    question=question_of(__doc__),
    base={
        "scenario": {"name": "catalogue", "domains": 4, "train": 256, "queries": 150, "gallery": 200},
        "train": {"epochs": 2},
    },
    methods={
        f"{composer}, {towers} towers": method(towers, composer)
        for towers in TOWERS
        for composer in COMPOSERS
    },
    controls=("cumulative",),
    figure={"kind": "heatmap", "title": "Composers by domain"},
)

if __name__ == "__main__":
    sys.exit(script(SWEEP, __file__))
