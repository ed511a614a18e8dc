"""MAS: memory aware synapses, importance from how much a weight changes the model's outputs."""

from __future__ import annotations

from typing import Annotated, Any

from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.anchors import Anchor
from clplat.mechanisms.importance import sensitivity
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["MAS"]


class MAS(Strategy):
    """Memory aware synapses: weights to which the outputs are sensitive are held near their values.

    ``penalty = lam * sum_i Omega_i (theta_i - theta*_i)^2``, with, over the batches b of a domain's data,
    ``Omega_i <- Omega_i + mean_b |d (mean_j |F(x_j)|^2) / d theta_i|``

    F is what the model puts out: for retrieval the scores of a query with the candidates of its batch,
    because unit embeddings have a squared length of one whatever the weights are. Labels are not used.

    Args:
        lam: strength of the penalty.
        batch_size: examples whose sensitivity is taken together, in one pass after each domain.

    References:
        Aljundi et al. 2018, Memory Aware Synapses: Learning What (Not) to Forget, arXiv 1711.09601.

    Needs:
        A learner with ``predict`` and ``data``, whose outputs are `clplat.parts.Outputs`, a pair of unit rows
        or a tensor (B, ...).

    Relations:
        `EWC` and `SI` hold weights by the same penalty and measure importance by the loss.

    Example:
        >>> from strategies import MAS
        >>> MAS(lam=2.0).lam
        2.0
    """

    terms = ("mas",)
    stores = "statistics"
    reads_data = True

    def __init__(
        self, lam: Annotated[float, Float(0.01, 100.0, log=True)] = 1.0, batch_size: int = 64
    ) -> None:
        if not (lam >= 0 and batch_size >= 1):
            raise ValueError(f"lam must be at least 0 and batch_size at least 1, not {lam} and {batch_size}")
        self.lam, self.batch_size = lam, batch_size
        self.anchor = Anchor(2 * lam)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        penalty = self.anchor.penalty(learner.model)
        return {} if penalty is None else {"mas": penalty}

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.anchor.pull(learner.model, learner.optimizer)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if importance := sensitivity(learner, learner.data(), self.batch_size):
            self.anchor.consolidate(learner.model, importance)
