"""How far can one method be tuned without losing what the model could do before?

One study over LoRA's rank and place and the learning rate. Only settings that keep sixty percent of the
zero-shot ability on the validation split may win. The best one is measured on the test split beside the
default setting, three times each.

    python sweeps/tune_lora.py --workers 2
    python sweeps/tune_lora.py --workers 2 --trials 50 --scenario.train 2000 --objective final,forgetting

A laptop size: a few minutes on two cores. More trials, triplets and epochs make it serious. To tune another
method, change `methods` and `tune`.
"""

from __future__ import annotations

import sys

from clplat.cli import script
from clplat.sweep import Budget, Sweep
from sweeps import question_of

SWEEP = Sweep(
    name="tune lora",
    question=question_of(__doc__),
    base={
        "scenario": {"name": "catalogue", "domains": 3, "train": 256, "queries": 150, "gallery": 200},
        "train": {"epochs": 2},
    },
    methods={"lora": {"adapter": {"name": "lora", "last": 4}, "strategy": "naive"}},
    tune=("train.lr",),
    space={
        "train.lr": {"low": 3e-4, "high": 2e-2, "log": True},
        "adapter.r": [2, 8, 32],
        "adapter.last": [1, 2, 4],
    },
    controls=("frozen",),
    budget=Budget(trials=9),
    constraints={"zero_shot": 60.0},
    figure={"kind": "scatter", "x": "zero_shot", "y": "final", "title": "LoRA, default and tuned"},
)

if __name__ == "__main__":
    sys.exit(script(SWEEP, __file__))
