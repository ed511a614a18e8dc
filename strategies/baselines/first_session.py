"""First session: the first domains are trained on, and everything stands still afterwards."""

from __future__ import annotations

from typing import Annotated, Any

from clplat.config.space import Int
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["FirstSession"]


class FirstSession(Strategy):
    """Plain fine-tuning on the ``first`` domains, then no update at all: it forgets nothing of them.

    The first domain closes the gap between what the backbone was trained on and the stream; what is fitted
    to later ones lies behind the towers, and needs them to stand still: prototypes, a cache, the random
    projection of RanPAC, all of them post-processors.

    Args:
        first: how many domains are trained on.

    Raises:
        ValueError: no domain to train on.

    What is trained:
        What the adapter, prompt and composer declare, in the first domains.

    References:
        McDonnell et al. 2023 (RanPAC), arXiv 2307.02251; Panos et al. 2023, First Session Adaptation: A
        Strong Replay-Free Baseline for Class-Incremental Learning, arXiv 2303.13199.

    Relations:
        `Frozen` trains on none, `Naive` on all; `BridgeThenPrompt` trains a prompt afterwards.

    Example:
        >>> FirstSession(first=2).first
        2
    """

    state = ("_experiences",)

    def __init__(self, first: Annotated[int, Int(1, 4)] = 1) -> None:
        if first < 1:
            raise ValueError(f"first must be at least 1, not {first}")
        self.first = first
        self._experiences = 0

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._experiences += 1
        self.rebuild(learner)

    def rebuild(self, learner: SupportsLearning) -> None:
        if self._experiences > self.first:
            learner.model.requires_grad_(False)
