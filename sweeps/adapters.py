"""How much of the model should be trained, and where?

LoRA of three ranks in the last block or in all blocks of both towers, beside full fine-tuning and layer
norms alone. The strategy is naive, so that nothing but the adapter protects old domains. Each one chooses
its learning rate with the same few tries on the validation split: a rate that suits full weights starves a
LoRA.

    python sweeps/adapters.py --workers 2
    python sweeps/adapters.py --workers 2 --scenario.train 2000 --train.epochs 5 --seeds 0,1,2,3,4

A laptop size: a few minutes on two cores. More triplets, epochs and seeds make it serious, and other
adapters (clplat list adapters) that are added below.
"""

from __future__ import annotations

import sys
from typing import Any

from clplat.cli import script
from clplat.sweep import Budget, Sweep
from sweeps import question_of

PLACES: dict[str, int | None] = {"last block": 1, "all blocks": None}


def adapted(place: str, **adapter: Any) -> dict[str, Any]:
    """Naive training with this adapter."""
    return {"strategy": "naive", "adapter": {**adapter, "last": PLACES[place]}}


SWEEP = Sweep(
    name="adapters",
    question=question_of(__doc__),
    base={
        "scenario": {"name": "catalogue", "domains": 3, "train": 256, "queries": 150, "gallery": 200},
        "train": {"epochs": 2},
    },
    methods={
        "full, all blocks": adapted("all blocks", name="full"),
        **{
            f"lora r{r}, {place}": adapted(place, name="lora", r=r, lora_alpha=2 * r)
            for place in PLACES
            for r in (2, 8, 32)
        },
        "layer norms, all blocks": adapted("all blocks", name="ln_tuning"),
    },
    tune=("train.lr",),
    space={"train.lr": {"low": 5e-4, "high": 2e-2, "log": True}},
    budget=Budget(trials=3),
    figure={
        "kind": "scatter",
        "x": "forgetting",
        "y": "plasticity",
        "title": "Adapters: learning against forgetting",
    },
)

if __name__ == "__main__":
    sys.exit(script(SWEEP, __file__))
