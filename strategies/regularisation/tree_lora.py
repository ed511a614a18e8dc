"""TreeLoRA: what is trained leans towards what the most similar earlier domains made of the same layer."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor, nn

from clplat.config.space import Float
from clplat.mechanisms.example_gradients import trained
from clplat.mechanisms.similarity_tree import SimilarityTree
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["TreeLoRA"]


class TreeLoRA(Strategy):
    """One adapter for all domains, drawn layer by layer to the most similar earlier domain.

    ``loss -= weight * n / (n + 1) * task * s / |s|``, ``s = sum_l <A_l, S_l(t_l)>`` at step n of a pass; the
    factor ``task / |s|`` is a number without a gradient

    S_l(t) is the mean of layer l's A over the last pass of domain t, and t_l the domain that a bandit looks
    at now, searching a tree of all domains (`clplat.mechanisms.similarity_tree`): the cost of a step hardly
    grows with the domains.

    Args:
        weight: share of the task loss that the term is worth.

    References:
        Qian et al., "TreeLoRA: Efficient Continual Learning via Layer-Wise LoRAs Guided by a Hierarchical
        Gradient-Similarity Tree", ICML 2025, arXiv 2506.10355. What the paper calls a domain's gradient is in
        its code the mean of the weights A, as here.

    Needs:
        A learner with ``task_loss``. Of LoRA's factors A counts; of other models and adapters all that is
        trained.

    Relations:
        `OrthogonalLoRA` holds A away from earlier domains; `EWC` holds weights where they were.

    Example:
        >>> TreeLoRA(weight=0.1).weight
        0.1
    """

    terms = ("tree",)
    stores = "weights"
    state = ("_mean", "_steps")

    def __init__(self, weight: Annotated[float, Float(0.01, 2.0, log=True)] = 0.5) -> None:
        if not weight >= 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.weight = weight
        self.tree = SimilarityTree()
        self._mean: list[Tensor] = []
        self._steps = 0

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._forget()

    def before_epoch(self, learner: SupportsLearning) -> None:
        self._forget()

    def _forget(self) -> None:
        self._mean, self._steps = [], 0
        self.tree.forget()

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not self.tree.seen:
            return {}
        layers, chosen = _layers(learner.model), self.tree.search()
        self.tree.fit(layers)
        products = [
            (now.flatten() * self.tree.seen[domain][layer]).sum()
            for layer, (now, domain) in enumerate(zip(layers, chosen, strict=True))
        ]
        alike = torch.stack(products).sum()
        ramp = self._steps / (self._steps + 1)
        worth = ramp * learner.task_loss(batch, outputs).detach() / alike.detach().abs().clamp_min(1e-5)
        return {"tree": -self.weight * worth * alike}

    @torch.no_grad()
    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self._steps += 1
        now = _layers(learner.model)
        self._mean = [
            torch.lerp(mean, weight.detach(), 1 / self._steps)
            for mean, weight in zip(self._mean or now, now, strict=True)
        ]
        if self.tree.seen:
            self.tree.measured(self.tree.search(), self._mean)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if self._mean:
            self.tree.add(self._mean)


def _layers(model: nn.Module) -> list[Tensor]:
    """The factors A that are trained, in the model's order; all that is trained where there is none."""
    weights = trained(model)
    factors = [weight for name, weight in weights.items() if ".lora_A." in name]
    return [*(factors or weights.values())]
