"""Stacked: every domain adds an adapter in front of those of earlier domains, which are frozen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clplat.errors import UserError
from clplat.mechanisms.parameter_groups import Group
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._growing import grown_backbone
from clplat.parts.adapters.peft import LoRA
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Stacked"]


class Stacked(Strategy):
    """Growth: every domain trains an adapter of its own, on top of the frozen ones of earlier domains.

    All are in use for every input, as a sum or one behind the other, whatever the adapter's kind makes of
    several: nothing is chosen at test time.

    Args:
        adapter: of a domain, of any kind that works together with others; default `LoRA` of rank 8.

    References:
        Wang et al., "Orthogonal Subspace Learning for Language Model Continual Learning", Findings of EMNLP
        2023, arXiv 2310.14152, whose LoRAs are summed; here without its penalty, and for any adapter.

    Numbers:
        ``adapters``: how many there are.

    Needs:
        A `ComposedRetriever` without another adapter. A composer with weights is trained on.

    Relations:
        `RoutedExperts` chooses one of them for each input; `OrthogonalLoRA` keeps LoRAs apart.

    Example:
        >>> Stacked().state_dict()
        {'domains': 0}
    """

    any_module = False
    plain = "lora"
    brings = ("adapter", "prompt")
    state = ("_domains",)

    def __init__(self, adapter: Adapter | None = None) -> None:
        if adapter is not None and (adapter.trains_base or adapter.rewrites_base):
            raise ValueError(f"adapter {type(adapter).__name__} changes the base that all share")
        self.adapter = adapter
        self.one = adapter if adapter is not None else LoRA(r=8, lora_alpha=16)
        self._domains = 0

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._add(grown_backbone(learner.model, "stacked", first=not self._domains))

    def rebuild(self, learner: SupportsLearning) -> None:
        domains, self._domains = self._domains, 0
        for _ in range(domains):
            self._add(grown_backbone(learner.model, "stacked", first=False))

    def groups(self, names: Sequence[str]) -> Sequence[Group]:
        return self.one.groups(names)

    def numbers(self) -> dict[str, float]:
        return {"adapters": self._domains}

    def _add(self, backbone: Backbone) -> None:
        self.one.attach(backbone, f"domain{self._domains}")
        if not backbone.adapters.stacks:
            raise UserError(
                f"adapters {type(self.one).__name__} work one at a time, so that none can stay in use behind "
                "a new one: use --strategy routed_experts"
            )
        self._domains += 1
        backbone.adapters.use([f"domain{i}" for i in range(self._domains)])
