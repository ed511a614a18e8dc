"""What does it cost to keep the old index usable?

Backward compatible training ties new embeddings to the old index, a projection maps new queries into it
afterwards; both can be combined. Every weight of the first meets every projection of the second, weight
nought being naive. All else is equal. On one axis what the new model learns (plasticity), on the other how
often its queries find more in an older index than that index's own model did (AC, a share of all pairs of
versions). A projection changes the second alone.

    python sweeps/compatibility.py --workers 2
    python sweeps/compatibility.py --workers 2 --scenario.domains 6 --scenario.train 2000 --train.epochs 5

A laptop size: a few minutes on two cores. More domains, triplets, epochs and seeds make it serious.
"""

from __future__ import annotations

import sys
from typing import Any

from clplat.cli import script
from clplat.sweep import Sweep
from sweeps import question_of

PROJECTIONS = ("identity", "procrustes", "ridge")
TRAINING: dict[str, dict[str, Any]] = {
    "naive": {"name": "naive"},
    "tied 0.3": {"name": "backward_compatible", "weight": 0.3},
    "tied 3": {"name": "backward_compatible", "weight": 3.0},
}

SWEEP = Sweep(
    name="compatibility",
    question=question_of(__doc__),
    base={
        "scenario": {"name": "catalogue", "domains": 3, "train": 256, "queries": 150, "gallery": 200},
        "train": {"epochs": 2},
    },
    methods={
        f"{label}, {projection}": {"strategy": training, "projection": projection}
        for label, training in TRAINING.items()
        for projection in PROJECTIONS
    },
    figure={
        "kind": "scatter",
        "x": "plasticity",
        "y": "AC",
        "title": "New knowledge and old indexes",
    },
)

if __name__ == "__main__":
    sys.exit(script(SWEEP, __file__))
