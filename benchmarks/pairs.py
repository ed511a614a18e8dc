"""A strategy of ours and a peer's, and their accuracies on a stream."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import mean, stdev
from typing import Any

from benchmarks.side_by_side import EPOCHS
from clplat.training.strategy import Strategy

__all__ = ["CLASSES", "HALVES", "MEMORY", "Pair", "row"]

SEEDS = (0, 1, 2)
#: On which a strength is chosen.
OTHER_SEED = 10
MEMORY = 200
#: 97.5 % of Student's t for two groups of three: a difference of means beyond it is more than noise.
_T = 2.776
#: Two of 597 pictures: what differs by less is equal.
_PICTURES = 100 * 2 / 597
HALVES, CLASSES = "halves", "classes"


@dataclass(frozen=True)
class Pair:
    """A strategy of ours and a peer's.

    Args:
        name: as the peer calls it.
        ours: strength -> strategy.
        theirs: strength, and whatever else the peer's side gives -> what it trains.
        strengths: of ours and of theirs, of which the best of each is taken; one of each is none to choose.
        streams: that both can be trained on.
        why: the known reason of a difference.
        epochs: of ours, where theirs makes more steps in as many.
        cosines: ours needs embeddings.
        slow: factor of our rate below the last layer.
    """

    name: str
    ours: Callable[[float], Strategy]
    theirs: Callable[..., Any]
    strengths: tuple[tuple[float, ...], tuple[float, ...]] = ((0.0,), (0.0,))
    streams: tuple[str, ...] = (HALVES, CLASSES)
    why: str = ""
    epochs: int = EPOCHS
    cosines: bool = False
    slow: float = 1.0


def row(pair: Pair, name: str, own: Callable[..., float], peer: Any) -> dict[str, Any]:
    """The accuracies of a pair on a stream.

    Args:
        pair: of strategies.
        name: of the stream.
        own: (what makes ours of a strength, stream, seed) -> its accuracy.
        peer: of theirs.
    """
    found: list[list[float]] = []
    chosen: list[float] = []
    own = partial(own, epochs=pair.epochs, cosines=pair.cosines, slow=pair.slow)
    sides: Any = ((own, pair.ours), (peer, pair.theirs))
    for (run, make), strengths in zip(sides, pair.strengths, strict=True):
        best = strengths[0]
        if len(strengths) > 1:
            tried = {strength: run(partial(make, strength), name, OTHER_SEED) for strength in strengths}
            best = max(tried, key=lambda strength: tried[strength])
        chosen.append(best)
        found.append([run(partial(make, best), name, seed) for seed in SEEDS])
    means = [mean(values) for values in found]
    noise = max(_T * (sum(stdev(v) ** 2 for v in found) / len(SEEDS)) ** 0.5, _PICTURES)
    said = f"{pair.name}, {name}: {means[0]:.1f}, theirs {means[1]:.1f}, noise {noise:.1f}"
    print(said, file=sys.stderr, flush=True)
    words = f"strength {chosen[0]:g}, theirs {chosen[1]:g}" if len(pair.strengths[0]) > 1 else ""
    return {
        "what": pair.name,
        "stream": name,
        "ours": found[0],
        "theirs": found[1],
        "noise": noise,
        "met": means[0] >= means[1] - noise,
        "note": "; ".join(filter(None, (words, pair.why))),
    }
