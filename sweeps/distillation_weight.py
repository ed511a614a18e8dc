"""How hard should the new model be tied to the old one?

Distillation with weights from one to thirty, once with the model before each domain as the teacher (as LwF
and Mod-X) and once with the untrained one (as ZSCL). Everything else is equal; naive is the weight nought.
A small weight learns and forgets, a large one does neither: where is the best mean, and does it depend on
who teaches?

    python sweeps/distillation_weight.py --workers 2
    python sweeps/distillation_weight.py --workers 2 --scenario.domains 6 --scenario.train 2000

A laptop size: a few minutes on two cores. More domains, triplets, epochs and seeds make it serious.
"""

from __future__ import annotations

import sys

from clplat.cli import script
from clplat.sweep import Sweep
from sweeps import question_of

WEIGHTS = (1.0, 3.0, 10.0, 30.0)

SWEEP = Sweep(
    name="distillation weight",
    question=question_of(__doc__),
    base={
        "scenario": {"name": "catalogue", "domains": 3, "train": 256, "queries": 150, "gallery": 200},
        "train": {"epochs": 2},
    },
    methods={
        **{
            f"{teacher} {weight:g}": {"strategy": {"name": "distill", "teacher": teacher, "weight": weight}}
            for teacher in ("previous", "initial")
            for weight in WEIGHTS
        },
        "naive": {"strategy": "naive"},
    },
    seeds=(0, 1, 2, 3, 4),
    figure={
        "kind": "curve",
        "x": "strategy.weight",
        "y": ["plasticity", "stability"],
        "log": True,
        "title": "Distillation by weight and teacher",
    },
)

if __name__ == "__main__":
    sys.exit(script(SWEEP, __file__))
