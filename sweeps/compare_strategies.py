"""Which strategy keeps old domains while it learns new ones?

Every strategy is tuned by a small study of its own, all with the same number of trials: the learning rate
and the one number that trades old for new. Then the default and the best setting are measured on the test
split with five seeds, each in another stream order. What a strategy may store is not tuned: replay keeps
200 exemplars.

    python sweeps/compare_strategies.py --workers 2
    python sweeps/compare_strategies.py --workers 2 --trials 20 --scenario.train 2000 --train.epochs 5
    python sweeps/compare_strategies.py --scenario domain_folders --scenario.root PATH --out runs/pacs

A laptop size: a few minutes on two cores. More trials, triplets, epochs and seeds make it serious, and more
domains, from four on with pruning. `agem`, `backward_compatible` and `lora_per_domain` are compared when
they are added below.
"""

from __future__ import annotations

import sys

from clplat.cli import script
from clplat.sweep import Budget, Sweep
from sweeps import question_of

SWEEP = Sweep(
    name="compare strategies",
    question=question_of(__doc__),
    base={
        "scenario": {"name": "catalogue", "domains": 3, "train": 256, "queries": 150, "gallery": 200},
        "train": {"epochs": 2},
    },
    methods=["replay", "distill", "ewc", "patch", "naive"],
    tune=("strategy.weight", "strategy.lam", "strategy.alpha", "train.lr"),
    space={"train.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
    seeds=(0, 1, 2, 3, 4),
    budget=Budget(trials=4),
    figure={
        "kind": "scatter",
        "x": "plasticity",
        "y": "stability",
        "title": "What is learnt against what is kept",
    },
)

if __name__ == "__main__":
    sys.exit(script(SWEEP, __file__))
