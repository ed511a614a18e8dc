"""How many exemplars does replay need?

Replay with memories of very different sizes, on a stream of which the largest memory holds every triplet.
The weight of what is replayed and the training are the same at every size, and so is the batch of 64
exemplars wherever the memory has as many; naive is the memory of size nought. Where does a larger memory
stop paying?

    python sweeps/memory_size.py --workers 2
    python sweeps/memory_size.py --workers 2 --scenario.train 2000 --train.epochs 5 --out runs/memory-serious

A laptop size: a few minutes on two cores. More triplets, epochs and seeds make it serious; so does a stream
of your own (--scenario domain_folders --scenario.root PATH).
"""

from __future__ import annotations

import sys

from clplat.cli import script
from clplat.sweep import Sweep
from sweeps import question_of

SIZES = (8, 32, 128, 768)  # the last: all of three domains

SWEEP = Sweep(
    name="memory size",
    question=question_of(__doc__),
    base={
        "scenario": {"name": "catalogue", "domains": 4, "train": 256, "queries": 150, "gallery": 200},
        "train": {"epochs": 2},
    },
    methods={
        **{f"replay {size}": {"strategy": {"name": "replay", "size": size}} for size in SIZES},
        "naive": {"strategy": "naive"},
    },
    seeds=(0, 1, 2, 3, 4),
    figure={
        "kind": "curve",
        "x": "strategy.size",
        "y": ["final", "forgetting"],
        "log": True,
        "title": "Replay: recall and forgetting by memory size",
    },
)

if __name__ == "__main__":
    sys.exit(script(SWEEP, __file__))
