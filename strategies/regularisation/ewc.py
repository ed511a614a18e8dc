"""EWC: elastic weight consolidation."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.anchors import Anchor
from clplat.mechanisms.importance import fisher, scaled
from clplat.mechanisms.importance_in_training import RunningFisher
from clplat.randomness import generator
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["EWC"]


class EWC(Strategy):
    """Elastic weight consolidation: weights that mattered for earlier domains are held near their values.

    ``penalty = lam / 2 * sum_i F_i (theta_i - theta*_i)^2``

    ``F`` is the diagonal of the Fisher information, by default a running mean of the squared gradients of
    the task loss while a domain is trained (EWC++), so that no further pass over the data is needed and
    the method works in any loop; or measured after it, example by example (`estimate`). Over domains
    ``F <- gamma * F + F_new`` (online EWC). The penalty pulls in an implicit step after the optimizer's
    (`clplat.mechanisms.anchors`), so that no strength is too much for a step size.

    Args:
        lam: strength of the penalty. F is scaled to mean 1 over the trained weights, so that the same value
            means the same for every model size and batch size, and for gradients that have become small; that
            is some thousand times the strength of published values of lambda.
        gamma: how much of the earlier importance is kept at each new domain.
        decay: of the running mean of squared gradients.
        estimate: of F: ``"running"``; after a domain ``"empirical"``, with the labels of the data, or
            ``"true"``, with labels that the model draws: one backward pass for each example, and data.
        examples: of a domain that a matrix is measured on after it, at most.
        batch_size: of that measurement: the candidates of a batch are each other's negatives.
        ease: factor of ``lam`` at the end of a domain, which it comes to along a line; 1 leaves it alone.
        seed: of the labels that are drawn; by default the experiment's.

    References:
        Kirkpatrick et al. 2017, arXiv 1612.00796; online form: Schwarz et al. 2018, arXiv 1805.06370;
        running estimate: Chaudhry et al. 2018, arXiv 1801.10112; a stiffness that eases: Ling & Bohn 2021, A
        Deep Learning Framework for Lifelong Machine Learning, arXiv 2105.00157.

    Relations:
        `Patch` protects by interpolation instead; `Distill` protects outputs instead of weights.

    Example:
        >>> from strategies import EWC
        >>> EWC(lam=1.0).lam
        1.0
    """

    reads_gradient = True
    terms = ("ewc",)
    stores = "statistics"

    def __init__(
        self,
        lam: Annotated[float, Float(0.003, 30.0, log=True)] = 0.3,
        gamma: Annotated[float, Float(0.5, 1.0)] = 1.0,
        decay: float = 0.95,
        estimate: Literal["running", "empirical", "true"] = "running",
        examples: int = 256,
        batch_size: int = 64,
        ease: float = 1.0,
        seed: int | None = None,
    ) -> None:
        if not (lam >= 0 and ease >= 0 and 0 <= gamma <= 1 and 0 <= decay < 1):
            raise ValueError(
                "lam and ease must be at least 0, gamma in [0, 1] and decay in [0, 1), "
                f"not {lam}, {ease}, {gamma} and {decay}"
            )
        if not (examples >= 1 and batch_size >= 2):
            raise ValueError(
                f"examples must be at least 1 and batch_size at least 2, not {examples} and {batch_size}"
            )
        self.lam, self.gamma, self.decay, self.estimate, self.ease = lam, gamma, decay, estimate, ease
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self.anchor = Anchor(lam, gamma)
        self._running = RunningFisher(decay)
        # What the class says of the default.
        vars(self)["reads_data"] = estimate != "running"

    @property
    def fisher(self) -> dict[str, Tensor]:
        """Importance by name, summed over the experiences so far."""
        return self.anchor.importance

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        self.anchor.strength = self.lam * (1 + (self.ease - 1) * learner.progress.fraction)
        penalty = self.anchor.penalty(learner.model)
        return {} if penalty is None else {"ewc": penalty}

    def after_backward(self, learner: SupportsLearning) -> None:
        if self.estimate == "running":
            self._running.observe(learner.model)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.anchor.pull(learner.model, learner.optimizer)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if self.estimate == "running":
            found, self._running.mean = self._running.mean, {}
        else:
            place = learner.progress.experience
            draw = generator(self.seed or 0, "labels", place) if self.estimate == "true" else None
            found = fisher(learner, learner.data(), self.batch_size, draw, self.examples)
        if found:
            self.anchor.consolidate(learner.model, scaled(found))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "fisher" in state:  # a run that release 0.1.0 began
            state = {**state, "anchor": {"importance": state["fisher"], "anchor": state["anchor"]}}
        super().load_state_dict(state)
