"""EWC: elastic weight consolidation."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.teacher import snapshot
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["EWC"]


class EWC(Strategy):
    """Elastic weight consolidation: weights that mattered for earlier domains are held near their values.

    ``penalty = lam / 2 * sum_i F_i (theta_i - theta*_i)^2``

    ``F`` is the diagonal of the Fisher information, estimated by a running mean of the squared gradients of
    the task loss while a domain is trained (EWC++), so that no further pass over the data is needed and
    the method works in any loop. Over domains ``F <- gamma * F + F_new`` (online EWC).

    Args:
        lam: strength of the penalty. F is scaled to mean 1 over the trained weights, so that the same value
            means the same for every model size and batch size.
        gamma: how much of the earlier importance is kept at each new domain.
        decay: of the running mean of squared gradients.

    References:
        Kirkpatrick et al. 2017, arXiv 1612.00796; online form: Schwarz et al. 2018, arXiv 1805.06370;
        running estimate: Chaudhry et al. 2018, arXiv 1801.10112.

    Relations:
        `Patch` protects by interpolation instead; `Distill` protects outputs instead of weights.

    Example:
        >>> from strategies import EWC
        >>> EWC(lam=10.0).lam
        10.0
    """

    reads_gradient = True
    terms = ("ewc",)
    stores = "statistics"
    state = ("fisher", "anchor", "_running")

    def __init__(
        self,
        lam: Annotated[float, Float(0.1, 1000.0, log=True)] = 10.0,
        gamma: Annotated[float, Float(0.5, 1.0)] = 1.0,
        decay: float = 0.95,
    ) -> None:
        if not (lam >= 0 and 0 <= gamma <= 1 and 0 <= decay < 1):
            raise ValueError(
                f"lam must be at least 0, gamma in [0, 1] and decay in [0, 1), not {lam}, {gamma} and {decay}"
            )
        self.lam, self.gamma, self.decay = lam, gamma, decay
        self.fisher: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}
        self._running: dict[str, Tensor] = {}

    def _protected(self, learner: SupportsLearning) -> list[tuple[str, Tensor, Tensor, Tensor]]:
        named = learner.model.named_parameters()
        return [
            (n, p, self.fisher[n], self.anchor[n]) for n, p in named if p.requires_grad and n in self.fisher
        ]

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        parts = [(f * (p - a) ** 2).sum() for _, p, f, a in self._protected(learner)]
        return {"ewc": self.lam / 2 * torch.stack(parts).sum()} if parts else {}

    @torch.no_grad()
    def after_backward(self, learner: SupportsLearning) -> None:
        # The penalty's own gradient is known in closed form; what is left is the task's.
        pull = {name: self.lam * f * (p - a) for name, p, f, a in self._protected(learner)}
        for name, parameter in learner.model.named_parameters():
            if parameter.requires_grad and parameter.grad is not None:
                task = parameter.grad - pull[name] if name in pull else parameter.grad
                running = self._running.setdefault(name, torch.zeros_like(parameter))
                running.mul_(self.decay).addcmul_(task, task, value=1 - self.decay)

    @torch.no_grad()
    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not self._running:
            return
        total = sum(float(f.sum()) for f in self._running.values())
        count = sum(f.numel() for f in self._running.values())
        mean = max(total / count, 1e-30)
        for name, running in self._running.items():
            earlier = self.fisher.get(name)
            self.fisher[name] = running / mean if earlier is None else self.gamma * earlier + running / mean
        self.anchor = {**self.anchor, **snapshot(learner.model)}
        self._running = {}
