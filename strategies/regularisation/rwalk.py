"""RWalk: importance from the Fisher information and from the path of training, measured by it."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.anchors import Anchor
from clplat.mechanisms.importance import Importance, scaled
from clplat.mechanisms.importance_in_training import PathIntegral, RunningFisher
from clplat.mechanisms.weight_space import padded
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["RWalk"]


class RWalk(Strategy):
    """Riemannian walk: weights are held that are curved, and those whose movement lowered the loss.

    ``penalty = lam * sum_i (F_i + s_i) (theta_i - theta*_i)^2``

    F is the running mean of squared gradients (EWC++), which goes on over domains: at the end of one it is
    that of its last steps. s adds up, over intervals of a few steps in a domain, what a weight's movement
    took off the loss by its distance in the model's own metric; over domains it is averaged:
    ``s <- (s + s_new) / 2``, with, over intervals of steps t,
    ``s_new = sum max(0, sum_t(-g_i(t) dtheta_i(t))) / (F_i / 2 (theta_i(end) - theta_i(start))^2 + xi)``.
    Both are scaled to mean 1 before they are added.

    Args:
        lam: strength of the penalty.
        decay: of the running mean of squared gradients.
        every: steps of an interval.
        xi: bounds the score of a weight that hardly moved.

    References:
        Chaudhry et al. 2018, Riemannian Walk for Incremental Learning: Understanding Forgetting and
        Intransigence, arXiv 1801.10112.

    Relations:
        `EWC` has the first of the two importances; `SI` the second, by the plain distance and over a whole
        domain.

    Example:
        >>> from strategies import RWalk
        >>> RWalk(lam=0.5).lam
        0.5
    """

    reads_gradient = True
    terms = ("rwalk",)
    stores = "statistics"
    state = ("_domain", "_past", "_steps")

    def __init__(
        self,
        lam: Annotated[float, Float(0.0003, 3.0, log=True)] = 0.03,
        decay: float = 0.95,
        every: int = 10,
        xi: Annotated[float, Float(1e-6, 0.1, log=True)] = 1e-3,
    ) -> None:
        if not (lam >= 0 and every >= 1 and xi > 0):
            raise ValueError(
                f"lam must be at least 0, every at least 1 and xi above 0, not {lam}, {every} and {xi}"
            )
        self.lam, self.decay, self.every, self.xi = lam, decay, every, xi
        self.anchor = Anchor(2 * lam, decay=0.0)  # of the newest F and the averaged s
        self._fisher, self._path = RunningFisher(decay), PathIntegral()
        self._domain: Importance = {}  # the score of this domain so far
        self._past: Importance = {}  # the average over domains
        self._steps = 0

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        penalty = self.anchor.penalty(learner.model)
        return {} if penalty is None else {"rwalk": penalty}

    def after_backward(self, learner: SupportsLearning) -> None:
        self._fisher.observe(learner.model)
        self._path.before_step(learner.model)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.anchor.pull(learner.model, learner.optimizer)
        self._path.after_step(learner.model)
        self._steps += 1
        if self._steps % self.every == 0:
            self._interval(learner)

    @torch.no_grad()
    def _interval(self, learner: SupportsLearning) -> None:
        """Add the score of the steps since the last interval."""
        moved = self._path.moved(learner.model)
        for name, path in self._path.path.items():
            score = path.clamp(min=0) / (self._fisher.mean[name] / 2 * moved[name] + self.xi)
            self._domain[name] = score if name not in self._domain else self._domain[name] + score
        self._path.restart()

    @torch.no_grad()
    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if self._steps % self.every:
            self._interval(learner)
        for name, new in self._domain.items():
            earlier = self._past.get(name)
            self._past[name] = new if earlier is None else (padded(earlier, new.shape) + new) / 2
        curvature, scores = scaled(self._fisher.mean), scaled(self._past)
        importance = {name: curvature[name] + scores[name] for name in scores}
        self.anchor.consolidate(learner.model, importance)
        self._domain, self._steps = {}, 0
