"""L2: hold the weights near those of before the domain."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.mechanisms.quadratic_anchor import QuadraticAnchor
from clplat.models.names import named_parameters
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["L2Anchor"]


class L2Anchor(Strategy):
    """The squared distance of all trained weights to earlier ones is added to the loss.

    ``penalty = lam * sum_i (theta_i - theta*_i)^2``

    Args:
        lam: strength of the penalty.
        anchor: the weights before this domain (ZSCL), or before the stream (L2-SP).

    References:
        Li et al. 2018 (L2-SP), Explicit Inductive Bias for Transfer Learning with Convolutional Networks,
        arXiv 1802.01483; as a part of ZSCL: Zheng et al. 2023, arXiv 2303.06628.

    Relations:
        `EWC` holds each weight by its importance instead.

    Example:
        >>> from strategies import L2Anchor
        >>> L2Anchor(lam=0.1).lam
        0.1
    """

    terms = ("l2",)
    stores = "weights"

    def __init__(
        self,
        lam: Annotated[float, Float(0.01, 10.0, log=True)] = 1.0,
        anchor: Annotated[Literal["previous", "initial"], Choice("previous", "initial")] = "previous",
    ) -> None:
        if not lam >= 0:
            raise ValueError(f"lam must be at least 0, not {lam}")
        self.lam, self.anchor = lam, anchor
        self._pull = QuadraticAnchor(strength=2 * lam, decay=0.0)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if self.anchor == "initial" and self._pull.anchor:
            return
        trained = {name: p for name, p in named_parameters(learner.model) if p.requires_grad}
        self._pull.consolidate(learner.model, {name: torch.ones_like(p) for name, p in trained.items()})

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        penalty = self._pull.penalty(learner.model)
        return {} if penalty is None else {"l2": penalty}

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self._pull.pull(learner.model, learner.optimizer)
