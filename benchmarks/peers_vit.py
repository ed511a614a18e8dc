"""Accuracy beside Mammoth's models of a vision transformer: prompts, experts, random projections.

As `benchmarks.peers_mammoth`, with the small transformer of `benchmarks.vit` on both sides, whose weights are
the same: two new digits in each of five experiences. Only the classes of an experience compete in training,
all at the end. A strength is the rate of Adam, unless a row says otherwise. Whether a step of ours is one of
theirs says `benchmarks.peers_formulas`.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import torch

from benchmarks.mammoth import missing
from benchmarks.mammoth_vit import theirs
from benchmarks.pairs import CLASSES, Pair, row
from benchmarks.vit import WIDTH, System, ours
from benchmarks.vit_classifiers import projected, slowly
from benchmarks.vit_systems import CODA, DUALPROMPT, L2P, components, general_and_own, model, pool
from clplat.parts.postprocessors.random_projection import RandomProjection
from clplat.strategies import FeatureReplay, GrowingPrompt, Naive

_RATES = ((0.003, 0.01, 0.03), (0.003, 0.01, 0.03))
PAIRS = (
    Pair(
        "L2P",
        lambda rate: System(Naive(), rate, prompt=pool(), clip=1.0),
        model("l2p", **L2P),
        _RATES,
        why="theirs classifies the mean of what becomes of the prompts, ours the class token",
    ),
    Pair(
        "L2P of the class token",
        lambda rate: System(Naive(), rate, prompt=pool(), clip=1.0),
        model("l2p", **L2P, head_type="token"),
        _RATES,
    ),
    Pair(
        "DualPrompt",
        lambda rate: System(GrowingPrompt(general_and_own()), rate, clip=1.0),
        model("dualprompt", **DUALPROMPT),
        _RATES,
        why="ours begins keys at the mean of the pictures",
    ),
    Pair(
        "CODA-Prompt",
        lambda rate: System(GrowingPrompt(components()), rate),
        model("coda_prompt", **CODA),
        _RATES,
    ),
    Pair(
        "RanPAC",
        lambda ridge: RandomProjection(width=1024, ridge=ridge),
        model("ranpac", rp_size=1024),
        ((0.001, 0.01, 0.1), (0.001, 0.003, 0.01)),
        why="ours by its ridge, which theirs chooses; theirs trains an adapter on the first experience",
    ),
    Pair(
        "SLCA",
        lambda rate: System(
            FeatureReplay(when="after", batch_size=256, steps=50, rate=rate, rank=WIDTH, temperature=0.1),
            rate,
        ),
        model("slca", optimizer="sgd"),
        ((0.003, 0.01, 0.03), (0.003, 0.01, 0.03)),
        why="the rate is that of SGD for the last layer, in training and in the alignment",
    ),
)
#: How those of ours run that are no prompt.
_OWN: dict[str, Any] = {"RanPAC": projected, "SLCA": slowly}


def rows() -> list[dict[str, Any]]:
    if what := missing():
        raise SystemExit(what)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)  # a second one waits longer than it works, in networks of this size
    found = []
    for pair in PAIRS:
        line = row(pair, CLASSES, _OWN.get(pair.name, ours), theirs)
        found.append({**line, "stream": "vit"})
    return found


if __name__ == "__main__":
    print(json.dumps(rows(), indent=2))
