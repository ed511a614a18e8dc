"""L2: hold the weights near those of before the domain, by their distance, their direction or a bound."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.mechanisms.anchors import Anchor, Form
from clplat.models.names import named_parameters
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["L2Anchor"]


class L2Anchor(Strategy):
    """The squared distance of all trained weights to earlier ones is added to the loss.

    ``penalty = lam * sum_i (theta_i - theta*_i)^2``. In the form ``cosine`` it is of every tensor ``2 lam
    (1 - cos(theta, theta*))``: directions are held and lengths are free. In the form ``ball`` nothing is
    added: after each step every tensor is taken back to where the root mean square of its changes is at most
    ``radius``.

    Args:
        lam: strength of the penalty. A weight rests where ``2 lam`` times its distance is its gradient, which
            is the smaller the more weights there are.
        anchor: the weights before this domain (ZSCL), or before the stream (L2-SP).
        form: of what holds them.
        radius: of the ball, in weights.

    References:
        Li et al. 2018 (L2-SP), Explicit Inductive Bias for Transfer Learning with Convolutional Networks,
        arXiv 1802.01483; as a part of ZSCL: Zheng et al. 2023, arXiv 2303.06628; the ball: Gouk et al. 2021,
        Distance-Based Regularisation of Deep Networks for Fine-Tuning, arXiv 2002.08253.

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
        lam: Annotated[float, Float(0.003, 3.0, log=True)] = 0.1,
        anchor: Annotated[Literal["previous", "initial"], Choice("previous", "initial")] = "previous",
        form: Form = "quadratic",
        radius: Annotated[float, Float(1e-4, 0.1, log=True)] = 0.003,
    ) -> None:
        if not lam >= 0:
            raise ValueError(f"lam must be at least 0, not {lam}")
        self.lam, self.anchor, self.form, self.radius = lam, anchor, form, radius
        self._pull = Anchor(2 * lam, decay=0.0, form=form, radius=radius)

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
