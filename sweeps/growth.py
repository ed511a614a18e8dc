"""Does it pay to search what a model should grow by?

GrowCLIP's search before each domain, beside growth of a fixed size: rank 2 of the MLPs, and rank 8 of all
layers. Around the search lies a study of Optuna's, over the price of a parameter, the momentum of what is
inherited and the length of a try: a trial is a run, in MLflow nested in that of the sweep. What each domain
chose is in the records, as ``strategy/rank`` and ``strategy/parameters``.

    python sweeps/growth.py --workers 2
    python sweeps/growth.py --workers 2 --trials 30 --scenario.train 2000 --objective final,forgetting

A laptop size: a few minutes on two cores. More trials, triplets and epochs make it serious.
"""

from __future__ import annotations

import sys
from typing import Any

from clplat.cli import script
from clplat.sweep import Budget, Sweep
from sweeps import question_of


def grown(ranks: list[int], layers: list[str], **options: Any) -> dict[str, Any]:
    """Growth by one of these; of a single candidate nothing is searched."""
    own = {"name": "growth_search", "ranks": ranks, "layers": layers}
    return {"adapter": "none", "strategy": {**own, **options}}


SWEEP = Sweep(
    name="growth",
    question=question_of(__doc__),
    base={
        "scenario": {"name": "catalogue", "domains": 3, "train": 256, "queries": 150, "gallery": 200},
        "train": {"epochs": 2},
    },
    methods={
        "searched": grown([2, 8], ["mlp", "attention", "both"]),
        "rank 2 of the MLPs": grown([2], ["mlp"]),
        "rank 8 everywhere": grown([8], ["both"]),
    },
    tune=("train.lr", "strategy.momentum"),
    space={
        "train.lr": {"low": 5e-4, "high": 1e-2, "log": True},
        "strategy.price": {"low": 1e-3, "high": 1.0, "log": True},
        "strategy.steps": [2, 4, 8],
    },
    controls=("frozen",),
    budget=Budget(trials=6),
    figure={
        "kind": "scatter",
        "x": "trainable_parameters",
        "y": "final",
        "title": "Growth: parameters against recall",
    },
)

if __name__ == "__main__":
    sys.exit(script(SWEEP, __file__))
