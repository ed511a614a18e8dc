"""EWC: elastic weight consolidation."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.quadratic_anchor import QuadraticAnchor
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["EWC"]


class EWC(Strategy):
    """Elastic weight consolidation: weights that mattered for earlier domains are held near their values.

    ``penalty = lam / 2 * sum_i F_i (theta_i - theta*_i)^2``

    ``F`` is the diagonal of the Fisher information, estimated by a running mean of the squared gradients of
    the task loss while a domain is trained (EWC++), so that no further pass over the data is needed and
    the method works in any loop. Over domains ``F <- gamma * F + F_new`` (online EWC). The penalty pulls in
    an implicit step after the optimizer's (`clplat.mechanisms.quadratic_anchor`), so that no strength is too
    much for a step size.

    Args:
        lam: strength of the penalty. F is scaled to mean 1 over the trained weights, so that the same value
            means the same for every model size and batch size, and for gradients that have become small; that
            is some thousand times the strength of published values of lambda.
        gamma: how much of the earlier importance is kept at each new domain.
        decay: of the running mean of squared gradients.

    References:
        Kirkpatrick et al. 2017, arXiv 1612.00796; online form: Schwarz et al. 2018, arXiv 1805.06370;
        running estimate: Chaudhry et al. 2018, arXiv 1801.10112.

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
    state = ("_running",)

    def __init__(
        self,
        lam: Annotated[float, Float(0.003, 30.0, log=True)] = 0.3,
        gamma: Annotated[float, Float(0.5, 1.0)] = 1.0,
        decay: float = 0.95,
    ) -> None:
        if not (lam >= 0 and 0 <= gamma <= 1 and 0 <= decay < 1):
            raise ValueError(
                f"lam must be at least 0, gamma in [0, 1] and decay in [0, 1), not {lam}, {gamma} and {decay}"
            )
        self.lam, self.gamma, self.decay = lam, gamma, decay
        self.anchor = QuadraticAnchor(lam, gamma)
        self._running: dict[str, Tensor] = {}

    @property
    def fisher(self) -> dict[str, Tensor]:
        """Importance by name, summed over the experiences so far."""
        return self.anchor.importance

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        penalty = self.anchor.penalty(learner.model)
        return {} if penalty is None else {"ewc": penalty}

    @torch.no_grad()
    def after_backward(self, learner: SupportsLearning) -> None:
        for name, parameter in learner.model.named_parameters():
            if parameter.requires_grad and parameter.grad is not None:
                running = self._running.setdefault(name, torch.zeros_like(parameter))
                running.mul_(self.decay).addcmul_(parameter.grad, parameter.grad, value=1 - self.decay)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.anchor.pull(learner.model, learner.optimizer)

    @torch.no_grad()
    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not self._running:
            return
        total = sum(float(f.sum()) for f in self._running.values())
        count = sum(f.numel() for f in self._running.values())
        mean = max(total / count, 1e-30)
        fisher = {name: running / mean for name, running in self._running.items()}
        self.anchor.consolidate(learner.model, fisher)
        self._running = {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "fisher" in state:  # a run that release 0.1.0 began
            state = {**state, "anchor": {"importance": state["fisher"], "anchor": state["anchor"]}}
        super().load_state_dict(state)
