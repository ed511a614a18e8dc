"""O-LoRA: a LoRA for each domain, whose A is kept orthogonal to those of earlier domains."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.parts.adapters._growing import Growing, PerDomain, counted
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["OrthogonalLoRA"]

_LORA = Growing(targets="attention")


class OrthogonalLoRA(Strategy):
    """Growth: every domain trains a LoRA beside the frozen ones of earlier domains; all are summed.

    ``loss += weight * sum_layers sum_t<T sum_ij |(A_T A_t^T)_ij|``

    Rows of A span what of a layer's input a domain changes; where they are orthogonal to those of earlier
    domains, the new change leaves alone what the earlier ones work on. Nothing is chosen at test time: all
    changes count for every picture and text.

    Args:
        weight: of the penalty; 0 sums LoRAs that know nothing of each other.
        lora: the LoRA of a domain.

    References:
        Wang et al., "Orthogonal Subspace Learning for Language Model Continual Learning", Findings of EMNLP
        2023, arXiv 2310.14152.

    Needs:
        A `ComposedRetriever` without another adapter. A composer with weights is trained on.

    Relations:
        `InfLoRA` has orthogonality by construction; the adapter ``olora`` is another method of that name.

    Example:
        >>> OrthogonalLoRA(weight=0.1).weight
        0.1
    """

    any_module = False
    plain = "lora"
    brings = ("adapter", "prompt")
    terms = ("orthogonality",)

    def __init__(
        self, weight: Annotated[float, Float(0.01, 5.0, log=True)] = 0.5, lora: Growing = _LORA
    ) -> None:
        if not weight >= 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.weight, self.lora = weight, lora
        self.changes = PerDomain(lora, "orthogonal_lora")

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.changes.grow(learner.model)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(counted(state))

    def rebuild(self, learner: SupportsLearning) -> None:
        list(self.changes.again(learner.model))

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        overlaps = [
            (layer.newest().down @ earlier.down.T).abs().sum()
            for layer in self.changes.layers(learner.model).values()
            for earlier in layer.earlier()
        ]
        return {"orthogonality": self.weight * torch.stack(overlaps).sum()} if overlaps else {}
