"""SD-LoRA: directions of earlier domains stay, and how far each is followed is learned anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from clplat.mechanisms.low_rank import LowRankSum
from clplat.parts.adapters._growing import Growing, PerDomain, counted
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["SDLoRA"]

_LORA = Growing(targets="attention")


class SDLoRA(Strategy):
    """Growth: a LoRA for each domain; earlier ones keep their directions, and magnitudes are trained on.

    ``W x + sum_t<T m_t (B_t / |B_t|) (A_t / |A_t|) x + m_T B_T A_T x``, where domain T trains A_T, B_T
    and all m (one for each layer and domain)

    When a domain begins, the newest change is divided by the lengths of its factors and its magnitude takes
    them over, so that nothing changes. Nothing is chosen at test time, and no example is kept.

    Args:
        magnitude: that a new change starts with.
        lora: the LoRA of a domain; its ``alpha`` counts for nothing.

    References:
        Wu et al., "SD-LoRA: Scalable Decoupled Low-Rank Adaptation for Class Incremental Learning", ICLR
        2025, arXiv 2501.13198.

    Numbers:
        ``magnitude <domain>``: m of each domain's change, the mean over layers.

    Needs:
        A `ComposedRetriever` without another adapter. A composer with weights is trained on.

    Relations:
        `OrthogonalLoRA` sums the changes of earlier domains as they are.

    Example:
        >>> SDLoRA(magnitude=1.0).magnitude
        1.0
    """

    any_module = False
    plain = "lora"
    brings = ("adapter", "prompt")
    state = ("_magnitudes",)

    def __init__(self, magnitude: float = 0.8, lora: Growing = _LORA) -> None:
        if not magnitude > 0:
            raise ValueError(f"magnitude must be above 0, not {magnitude}")
        self.magnitude, self.lora = magnitude, lora
        self.changes = PerDomain(lora, "sd_lora")
        self._magnitudes: list[float] = []

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        for layer in self.changes.layers(learner.model).values():
            layer.newest().decouple()
        self._begin(self.changes.grow(learner.model))

    def _begin(self, layers: Mapping[str, LowRankSum]) -> None:
        for layer in layers.values():
            layer.newest().magnitude.data.fill_(self.magnitude)
            for change in layer.in_use():
                change.magnitude.requires_grad_(True)

    @torch.no_grad()
    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        layers = self.changes.layers(learner.model).values()
        moved = torch.tensor([[float(each.magnitude) for each in layer.in_use()] for layer in layers])
        self._magnitudes = moved.mean(0).tolist()

    def numbers(self) -> dict[str, float]:
        return {f"magnitude {domain}": value for domain, value in enumerate(self._magnitudes)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(counted(state))

    def rebuild(self, learner: SupportsLearning) -> None:
        for layers in self.changes.again(learner.model):
            self._begin(layers)
