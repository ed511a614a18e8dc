"""Accuracy beside Mammoth's models of a CLIP: adapters of experts, and distillation beside the stream.

As `benchmarks.peers_vit`, with the small model of `benchmarks.small_clip` on both sides. A strength is the
rate of Adam.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import torch

from benchmarks.mammoth import missing
from benchmarks.mammoth_clip import theirs
from benchmarks.pairs import CLASSES, Pair, row
from benchmarks.side_by_side import BATCH
from benchmarks.small_clip import ours
from benchmarks.vit import System
from benchmarks.vit_systems import model
from clplat.parts.adapters.moe import MoEAdapter
from clplat.strategies import Naive, ReferenceDistill, WeightAverage
from clplat.training.combined import Combined

#: Theirs adds a tenth of what experts make, ours all.
_RATES = ((1e-4, 3e-4, 1e-3), (0.001, 0.003, 0.01))
_SLOW = ((1e-4, 3e-4, 1e-3), (1e-4, 3e-4, 1e-3))


def experts() -> MoEAdapter:
    """As many as there, both of which every token goes through."""
    return MoEAdapter(experts=2, k=2, rank=64, towers="both", balance=0.0)


def reference() -> Combined:
    """Theirs takes the mean at the first step and after every so many, ours after so many and at the end."""
    distill = ReferenceDistill(weight=5.0, temperature=2.0, pictures=BATCH, texts=40)
    return Combined([distill, WeightAverage(every=4)])


PAIRS = (
    Pair(
        "MoE-Adapters",
        lambda rate: System(Naive(), rate, adapter=experts()),
        model("moe_adapters", experts_num=2, top_k=2),
        _RATES,
        why="theirs reads tokens before the norm and adds a tenth, with noise: our rates are a tenth",
    ),
    Pair(
        "ZSCL",
        lambda rate: System(reference(), rate),
        model("zscl", ls=0.0, avg_freq=4),
        _SLOW,
        why="the mean of theirs begins with the first step, that of ours ends with the last",
    ),
)


def rows() -> list[dict[str, Any]]:
    if what := missing():
        raise SystemExit(what)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)  # a second one waits longer than it works, in networks of this size
    return [{**row(pair, CLASSES, ours, theirs), "stream": "clip"} for pair in PAIRS]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=2))
