"""Does the order of the stream decide which strategy wins?

The same three domains in three orders, each domain once first, once in the middle and once last. Every
strategy runs in every order with the same seeds and default options; the groups of the tables are the
orders. If the best strategy changes with the order, a comparison on one order says little.

    python sweeps/stream_order.py --workers 2
    python sweeps/stream_order.py --workers 2 --scenario.train 2000 --train.epochs 5

A laptop size: a few minutes on two cores. More triplets, epochs and seeds make it serious, and orders that
are added below.
"""

from __future__ import annotations

import sys

from clplat.cli import script
from clplat.sweep import Sweep
from sweeps import question_of

DOMAINS = ["dress-studio", "top-sketch", "shoe-textured"]
ORDERS = [DOMAINS[i:] + DOMAINS[:i] for i in range(len(DOMAINS))]

SWEEP = Sweep(
    name="stream order",
    question=question_of(__doc__),
    base={
        "scenario": {
            "name": "catalogue",
            "domains": DOMAINS,
            "train": 256,
            "queries": 150,
            "gallery": 200,
        },
        "train": {"epochs": 2},
    },
    methods=["replay", "distill", "patch", "naive"],
    groups={f"{order[-1]} last": {"scenario": {"order": order}} for order in ORDERS},
    seeds=(0, 1, 2, 3, 4),
    orders=1,
    controls=("frozen",),  # a model that always trains on everything has no order
    figure={"kind": "lines", "y": ["final", "forgetting"], "title": "Strategies by stream order"},
)

if __name__ == "__main__":
    sys.exit(script(SWEEP, __file__))
