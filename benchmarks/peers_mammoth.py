"""Accuracy beside Mammoth: each strategy that both have, as `benchmarks.peers_accuracy` does for Avalanche.

Mammoth's own model classes, from a folder with its code (``--mammoth FOLDER``), are trained
in the process that trains ours: the same streams, weights, order, memory and optimizer, which begins each
experience without momentum on both sides. What theirs does otherwise by default is chosen by options of
ours, or said in the row.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.mammoth import missing, train
from benchmarks.pairs import CLASSES, HALVES, MEMORY, Pair, row
from benchmarks.side_by_side import BATCH, EPOCHS, RATE, ours
from clplat.strategies import (
    AGEM,
    DER,
    ERACE,
    EWC,
    GEM,
    LUCIR,
    SI,
    Cumulative,
    Distill,
    FeatureReplay,
    GDumb,
    ICaRL,
    Naive,
    Replay,
)

_stored = {"buffer_size": MEMORY, "minibatch_size": BATCH}


def model(name: str, strength: str = "", /, **own: Any) -> Callable[..., tuple[str, dict[str, Any]]]:
    """A model of theirs and its arguments, one of which is the strength."""
    return lambda value: (name, {**own, **({strength: value} if strength else {})})


def theirs(make: Callable[[], tuple[str, dict[str, Any]]], name: str, seed: int) -> float:
    return train(*make(), name, seed)


#: Theirs joins the stored batch to the new one: the mean over both.
_replay = partial(Replay, MEMORY, BATCH, combine="mean", domains="all")
_dark = partial(DER, MEMORY, BATCH, renew=False)
_XDER = "theirs never rehearses the current experience, and parts old, new and later classes"
_AGEM = "ours projects what a step moves as well"
_DER = "of classes over eight seeds at 0.1 60.3 ± 6.2, theirs 64.8 ± 9.2"
_DERPP = (
    "of classes over eight seeds at 0.1 82.1 ± 1.9, theirs 82.0 ± 4.6; at 0.3 82.4 ± 3.6, theirs 83.2 ± 1.9"
)
#: Theirs takes the mean over ten logits (five of halves), ours their sum.
_LARGE, _SMALL = (0.03, 0.1, 0.3, 1.0, 3.0), (0.003, 0.01, 0.03, 0.1, 0.3)
PAIRS = (
    Pair("Naive", lambda _: Naive(), model("sgd")),
    Pair(
        "Cumulative",
        lambda _: Cumulative(),
        model("joint"),
        why="theirs trains once, when all is there",
    ),
    Pair(
        "online EWC",
        lambda lam: EWC(lam, gamma=0.9, estimate="empirical", examples=10_000),
        model("ewc_on", "e_lambda", gamma=0.9),
        ((0.01, 0.03, 0.1, 0.3, 1.0), (1.0, 3.0, 10.0, 30.0, 100.0)),
    ),
    Pair(
        "SI",
        lambda c: SI(c),
        model("si", "c", xi=1e-3),
        ((0.01, 0.1, 1.0, 10.0, 100.0), (0.01, 0.1, 1.0, 10.0, 100.0)),
    ),
    Pair(
        "LwF",
        lambda weight: Distill(weight, temperature=2.0),
        model("lwf", "alpha", softmax_temp=2.0),
        ((0.3, 1.0, 3.0, 10.0, 30.0), (0.3, 1.0, 3.0, 10.0, 30.0)),
        streams=(CLASSES,),
        why="theirs first trains the rows of new classes alone, 3 epochs more; ours has 6 (with 3: 17.8)",
        epochs=2 * EPOCHS,
    ),
    Pair("ER", lambda _: _replay(policy="reservoir"), model("er", **_stored)),
    Pair(
        "ER-ACE",
        lambda _: ERACE(MEMORY, BATCH),
        model("er_ace", use_custom_classifier=0, **_stored),
        why="theirs without its classifier of cosines; it begins to rehearse in the second experience",
    ),
    Pair(
        "DER",
        lambda alpha: _dark(alpha=alpha, beta=0.0),
        model("der", "alpha", **_stored),
        (_SMALL, _LARGE),
        why=_DER,
    ),
    Pair(
        "DER++",
        lambda alpha: _dark(alpha=alpha, beta=0.5),
        model("derpp", "alpha", beta=0.5, **_stored),
        (_SMALL, _LARGE),
        why=_DERPP,
    ),
    Pair(
        "X-DER",
        lambda alpha: DER(MEMORY, BATCH, alpha=alpha, beta=0.5, gamma=0.85),
        model("xder", "alpha", beta=0.5, align_bn=0, **_stored),
        ((0.03,), (0.3,)),  # as X-DER CE's: it draws 384 augmented pictures in every step
        streams=(CLASSES,),
        why=_XDER,
    ),
    Pair(
        "X-DER CE",
        lambda alpha: DER(MEMORY, BATCH, alpha=alpha, beta=0.5, gamma=0.85),
        model("xder_ce", "alpha", beta=0.5, align_bn=0, **_stored),
        (_SMALL, _LARGE),
        streams=(CLASSES,),
        why=_XDER,
    ),
    Pair(
        "A-GEM",
        lambda _: AGEM(MEMORY, BATCH),
        model("agem", **_stored),
        why=_AGEM + "; theirs stores one batch of each experience",
    ),
    Pair("A-GEM-R", lambda _: AGEM(MEMORY, BATCH, "reservoir"), model("agem_r", **_stored), why=_AGEM),
    Pair(
        "GEM",
        lambda _: GEM(MEMORY, MEMORY),
        model("gem", gamma=0.5, **_stored),
        streams=(CLASSES,),
        why="on halves theirs stops: it stores by class numbers that grow",
    ),
    Pair(
        "GSS",
        lambda _: _replay(policy="gradients"),
        model("gss", **_stored),
        why="theirs replaces examples as they come, by all weights' gradients",
    ),
    Pair("GDumb", lambda _: GDumb(MEMORY, epochs=30), model("gdumb", fitting_epochs=30, **_stored)),
    Pair(
        "SLCA",
        lambda _: FeatureReplay(when="after", batch_size=256, steps=50, rate=RATE, rank=100),
        model("slca", ca_with_logit_norm=0),
        streams=(CLASSES,),
        why="our network for its ViT; with its default, logits divided by their length, theirs has 91",
        slow=0.01,
    ),
    Pair(
        "iCaRL",
        lambda _: ICaRL(MEMORY, BATCH),
        model("icarl", **_stored),
        streams=(CLASSES,),
        why="theirs adds mirrored pictures to a class's mean",
    ),
    Pair(
        "LUCIR",
        lambda _: LUCIR(MEMORY, BATCH),
        model("lucir", fitting_epochs=0, **_stored),
        streams=(CLASSES,),
        why="theirs joins the memory to the data: 14 steps an epoch; ours has 5 epochs of 8 (with 3: 89.0)",
        epochs=5,
        cosines=True,
    ),
)


def rows() -> list[dict[str, Any]]:
    if what := missing():
        raise SystemExit(what)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)  # a second one waits longer than it works, in networks of this size
    own = partial(ours, fresh=True)
    return [
        row(pair, name, own, theirs) for name in (HALVES, CLASSES) for pair in PAIRS if name in pair.streams
    ]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=2))
