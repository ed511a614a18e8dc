"""Accuracy beside Avalanche: each strategy that both have, on the digits of scikit-learn.

* ``halves``: the digits 0 to 4, then 5 to 9 under the same five labels.
* ``classes``: two new digits in each of five experiences, told apart from all others at the end.

Both sides run in one process, from the same weights, with the same batches of new data, optimizer and memory
(`benchmarks.side_by_side`). Where a strength means another thing on either side (EWC's matrix is scaled to
mean one here, SI's is cut at 0.001 there), each has a grid of equal length and takes the value that is best
on another seed. A number is the mean accuracy over all experiences after the last, in per cent.

A strategy that comes is one `Pair` more.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.pairs import CLASSES, HALVES, MEMORY, Pair, row
from benchmarks.side_by_side import BATCH, EPOCHS, ours, theirs
from clplat.strategies import (
    AGEM,
    DER,
    ERACE,
    EWC,
    GEM,
    MAS,
    MIR,
    SI,
    CoPE,
    Cumulative,
    Distill,
    GDumb,
    ICaRL,
    Naive,
    Replay,
    RWalk,
)


def plugged(plugin: str, named: Callable[[float], dict[str, Any]]) -> Callable[..., Any]:
    """Avalanche's plain template with one of its plugins, whose arguments follow from the strength."""

    def template(strength: float, **common: Any) -> Any:
        from avalanche.training import Naive as Stock
        from avalanche.training import plugins

        return Stock(plugins=[getattr(plugins, plugin)(**named(strength))], **common)

    return template


def stock(name: str, **own: Any) -> Callable[..., Any]:
    """One of Avalanche's templates."""

    def template(strength: float, **common: Any) -> Any:
        from avalanche import training

        return getattr(training, name)(**own, **common)

    return template


def icarl(_: float, **common: Any) -> Any:
    """Avalanche's iCaRL, whose features are what our network's last layer reads."""
    from avalanche.training import ICaRL as Stock

    model = common.pop("model")
    del common["criterion"]
    own = {"feature_extractor": model[:2], "classifier": model[2], "memory_size": MEMORY}
    return Stock(**own, **common, buffer_transform=None, fixed_memory=True)


def cope(momentum: float, **common: Any) -> Any:
    """Avalanche's CoPE, which is made for batches that come one after the other, each in several steps."""
    from avalanche.training import Naive as Stock
    from avalanche.training.plugins import CoPEPlugin

    own = {"mem_size": MEMORY, "p_size": common["model"][-1].out_features, "max_it_cnt": EPOCHS, "T": 0.2}
    plugin = CoPEPlugin(n_classes=common["model"][-1].out_features, alpha=momentum, **own)
    template = Stock(plugins=[plugin], **common)
    template.online = True
    template.predicts = lambda x: plugin._get_nearest_neigbor_distr(template.model(x))
    return template


#: Of prototypes, which move once per batch there, and once per step here.
_MOMENTA = (0.1, 0.5, 0.9, 0.95, 0.99)
_dark = {"mem_size": MEMORY, "batch_size_mem": BATCH, "beta": 0.5}
_mir = {"batch_size_mem": BATCH, "mem_size": MEMORY, "subsample": 2 * BATCH}
#: Mean over both batches, as there.
_replay = partial(Replay, MEMORY, BATCH, combine="mean", domains="all")
PAIRS = (
    Pair("Naive", lambda _: Naive(), stock("Naive")),
    Pair("Cumulative", lambda _: Cumulative(), stock("Cumulative")),
    Pair(
        "EWC",
        lambda lam: EWC(lam),
        plugged("EWCPlugin", lambda lam: {"ewc_lambda": lam}),
        ((0.01, 0.03, 0.1, 0.3, 1.0), (1.0, 10.0, 100.0, 1e3, 1e4)),
    ),
    Pair(
        "SI",
        lambda c: SI(c),
        plugged("SynapticIntelligencePlugin", lambda lam: {"si_lambda": lam, "eps": 1e-3}),
        ((0.01, 0.1, 1.0, 10.0, 100.0), (1.0, 10.0, 100.0, 1e3, 1e4)),
        why="on a CPU theirs does nothing: its copies of the weights are views of them",
    ),
    Pair(
        "MAS",
        lambda lam: MAS(lam, BATCH),
        plugged("MASPlugin", lambda lam: {"lambda_reg": lam}),
        ((0.01, 0.03, 0.1, 0.3, 1.0), (0.01, 0.03, 0.1, 0.3, 1.0)),
    ),
    Pair(
        "RWalk",
        lambda lam: RWalk(lam),
        plugged("RWalkPlugin", lambda lam: {"ewc_lambda": lam}),
        ((0.01, 0.03, 0.1, 0.3, 1.0), (0.1, 1.0, 10.0, 100.0, 1e3)),
    ),
    Pair(
        "LwF",
        lambda weight: Distill(weight, temperature=2.0),
        plugged("LwFPlugin", lambda alpha: {"alpha": alpha, "temperature": 2.0}),
        ((0.3, 1.0, 3.0, 10.0, 30.0), (0.3, 1.0, 3.0, 10.0, 30.0)),
    ),
    Pair("Replay", lambda _: _replay(), plugged("ReplayPlugin", lambda _: {"mem_size": MEMORY})),
    Pair(
        "A-GEM",
        lambda _: AGEM(MEMORY, 2 * BATCH),
        plugged("AGEMPlugin", lambda _: {"patterns_per_experience": MEMORY // 5, "sample_size": 2 * BATCH}),
        why="ours projects what a step moves as well, which momentum bends",
    ),
    Pair(
        "DER",
        # Theirs takes the mean over the logits, ours their sum.
        lambda alpha: DER(MEMORY, BATCH, alpha=alpha, beta=0.5),
        lambda alpha, **common: stock("DER", **_dark, alpha=alpha)(0.0, **common),
        ((0.003, 0.01, 0.03, 0.1, 0.3), (0.03, 0.1, 0.3, 1.0, 3.0)),
        why="ours fills its memory while it trains, as the authors' code, theirs after an experience",
    ),
    Pair("ER-ACE", lambda _: ERACE(MEMORY, BATCH), stock("ER_ACE", mem_size=MEMORY, batch_size_mem=BATCH)),
    Pair(
        "MIR",
        lambda _: MIR(MEMORY, BATCH, candidates=2 * BATCH),
        plugged("MIRPlugin", lambda _: _mir),
        why="theirs never draws the classes of the last experience from its memory",
    ),
    Pair(
        "GEM",
        lambda _: GEM(MEMORY, MEMORY),
        plugged("GEMPlugin", lambda _: {"patterns_per_experience": MEMORY // 5, "memory_strength": 0.5}),
    ),
    Pair(
        "CoPE",
        lambda momentum: CoPE(MEMORY, BATCH, momentum=momentum),
        cope,
        (_MOMENTA, _MOMENTA),
        why="theirs has a loop of its own: every batch is an experience, of as many steps as ours has epochs",
    ),
    Pair("GDumb", lambda _: GDumb(MEMORY), plugged("GDumbPlugin", lambda _: {"mem_size": MEMORY})),
    Pair("iCaRL", lambda _: ICaRL(MEMORY, BATCH), icarl, streams=(CLASSES,)),
)


def rows() -> list[dict[str, Any]]:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)  # a second one waits longer than it works, in networks of this size
    return [
        row(pair, name, ours, theirs) for name in (HALVES, CLASSES) for pair in PAIRS if name in pair.streams
    ]


if __name__ == "__main__":
    print(json.dumps(rows(), indent=2))
