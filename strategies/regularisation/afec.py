"""AFEC: active forgetting of what hinders the new domain."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.anchors import Anchor
from clplat.mechanisms.importance import scaled
from clplat.mechanisms.importance_in_training import RunningFisher
from clplat.mechanisms.second_weights import SecondWeights
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["AFEC"]


class AFEC(Strategy):
    """EWC, and a second pull towards weights that learn the new domain alone.

    ``penalty = lam / 2 * sum_i F_i (theta_i - theta*_i)^2 + lam_new / 2 * sum_i F'_i (theta_i - theta'_i)^2``

    Expansion: theta' begins with each domain at the model as it is and is trained on the same batches, held
    by nothing. Convergence: the model is drawn to theta' by the Fisher information F' there, so that what was
    learnt before and stands in the way is given up. Both matrices are running means of squared gradients,
    scaled to mean 1; over domains F is averaged, ``F <- (n F + F_new) / (n + 1)``.

    Args:
        lam: strength of the pull to where earlier domains ended.
        lam_new: strength of the pull to what the new domain alone would learn; a small share of ``lam``, for
            at a third of it more is forgotten than without any penalty.
        decay: of both running means.

    References:
        Wang et al. 2021, AFEC: Active Forgetting of Negative Transfer in Continual Learning, arXiv
        2110.12187.

    Needs:
        A learner with ``predict`` and ``task_loss``: from the second domain on each step costs a second pass
        forward and backward.

    Relations:
        `EWC` is this with ``lam_new = 0``, and sums matrices over domains.

    Example:
        >>> from strategies import AFEC
        >>> AFEC(lam_new=0.01).lam_new
        0.01
    """

    reads_gradient = True
    terms = ("afec",)
    stores = "weights"
    state = ("_domains",)

    def __init__(
        self,
        lam: Annotated[float, Float(0.003, 30.0, log=True)] = 0.3,
        lam_new: Annotated[float, Float(0.0001, 0.3, log=True)] = 0.003,
        decay: float = 0.95,
    ) -> None:
        if not (lam >= 0 and lam_new >= 0):
            raise ValueError(f"lam and lam_new must be at least 0, not {lam} and {lam_new}")
        self.lam, self.lam_new, self.decay = lam, lam_new, decay
        self.anchor = Anchor(lam)
        self._running, self._new_running = RunningFisher(decay), RunningFisher(decay)
        self._expanded = SecondWeights()
        self._domains = 0

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if self._domains:
            self._expanded.begin(learner.model)
        self._new_running.mean = {}

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        found = [one.penalty(learner.model) for one in (self.anchor, self._new_anchor())]
        penalties = [penalty for penalty in found if penalty is not None]
        return {"afec": sum(penalties[1:], penalties[0])} if penalties else {}

    def after_backward(self, learner: SupportsLearning) -> None:
        self._running.observe(learner.model)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.anchor.pull(learner.model, learner.optimizer, [self._new_anchor()])
        if self._domains:
            self._new_running.take(self._expanded.step(learner, batch))

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        found, self._running.mean = self._running.mean, {}
        if not found:
            return
        self._domains += 1
        self.anchor.decay = (self._domains - 1) / self._domains
        shares = {name: f / self._domains for name, f in scaled(found).items()}
        self.anchor.consolidate(learner.model, shares)

    def _new_anchor(self) -> Anchor:
        """Of the weights that learn the new domain alone, as they are now."""
        anchor = Anchor(self.lam_new)
        anchor.importance = scaled(self._new_running.mean)
        anchor.anchor = self._expanded.tensors
        return anchor
