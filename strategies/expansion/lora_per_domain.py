"""LoRA per domain: one low-rank expert for each domain, and a router that does not know the domain."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Int
from clplat.errors import UserError
from clplat.mechanisms.routing import Router
from clplat.models.frozen import weights_fixed
from clplat.parts.adapters.peft import LoRA
from clplat.retriever import ComposedRetriever
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["LoRAPerDomain"]


class LoRAPerDomain(Strategy):
    """Growth: every domain trains its own LoRA on the frozen base; at test time a router picks the expert.

    The router sees only the picture (its features under the bare base), never the domain's name. Pictures far
    from every domain go through the bare base, so that zero-shot ability stays. Old experts are never
    touched again: forgetting can come from routing only.

    Args:
        r: rank of each expert.
        alpha: LoRA's scale numerator.
        targets: layers that are adapted.
        prototypes: centres that describe a domain to the router.
        quantile: of a domain's own distances beyond which a picture counts as outside.

    References:
        Hu et al. 2021 (LoRA), arXiv 2106.09685; experts with a training-free router: MoDE, arXiv 2404.16030;
        out-of-stream inputs to the frozen model: MoE-Adapters, arXiv 2403.11549.

    Needs:
        A `ComposedRetriever` without another adapter. A composer with weights is trained in the first domain
        and frozen afterwards.

    Relations:
        `Frozen` is its behaviour outside the stream; cost grows by one LoRA per domain.

    Example:
        >>> from strategies import LoRAPerDomain
        >>> LoRAPerDomain(r=4).state_dict()["names"]
        []
    """

    any_module = False
    stores = "weights"
    brings = ("adapter", "prompt")
    state = ("_names", "_centres", "_radii")

    def __init__(
        self,
        r: Annotated[int, Int(2, 32, log=True)] = 8,
        alpha: int = 16,
        targets: Literal["mlp", "attention", "both"] = "both",
        prototypes: int = 4,
        quantile: float = 0.99,
    ) -> None:
        if r < 1:
            raise ValueError(f"r must be at least 1, not {r}")
        if prototypes < 1 or not 0 < quantile <= 1:
            raise ValueError(
                f"prototypes must be at least 1 and quantile in (0, 1], not {prototypes} and {quantile}"
            )
        self.r, self.alpha, self.targets = r, alpha, targets
        self.prototypes, self.quantile = prototypes, quantile
        self.adapter = LoRA(r=r, lora_alpha=alpha, targets=targets)
        self._names: list[str] = []
        self._centres: list[Tensor] = []
        self._radii: list[float] = []

    def _retriever(self, learner: SupportsLearning) -> ComposedRetriever:
        if not isinstance(learner.model, ComposedRetriever):
            raise UserError(
                "lora_per_domain needs a ComposedRetriever as the model: it routes pictures between adapters"
            )
        return learner.model

    def _router(self, retriever: ComposedRetriever) -> Router:
        if retriever.router is None:
            backbone = retriever.backbone
            retriever.router = Router(
                lambda name: self.adapter.activate(backbone, name), self.prototypes, self.quantile
            )
        return retriever.router

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        retriever = self._retriever(learner)
        if not self._names and any(p.requires_grad for p in retriever.backbone.parameters()):
            raise UserError(
                "strategy 'lora_per_domain' brings its own adapters: use it with --adapter none and no prompt"
            )
        router = self._router(retriever)
        name = f"domain{len(self._names)}"
        if self._names:
            retriever.requires_grad_(False)
        router.add(name, self._base_features(learner, retriever, experience))
        self._remember(router, name)
        self.adapter.attach(retriever.backbone, name)

    def _remember(self, router: Router, name: str) -> None:
        self._names.append(name)
        self._centres, self._radii = list(router.centres), list(router.radii)

    @torch.no_grad()
    def _base_features(
        self, learner: SupportsLearning, retriever: ComposedRetriever, experience: Any
    ) -> Tensor:
        if self._names:
            self.adapter.activate(retriever.backbone, None)
        data, parts = experience.dataset, []
        with weights_fixed():
            for start in range(0, len(data), 128):
                batch = learner.collate([data[i] for i in range(start, min(start + 128, len(data)))])
                parts.append(retriever.image_features(batch.pictures).pooled)
        return torch.cat(parts)

    def rebuild(self, learner: SupportsLearning) -> None:
        if not self._names:
            return
        retriever = self._retriever(learner)
        router = self._router(retriever)
        for name in self._names:
            retriever.requires_grad_(False)
            self.adapter.attach(retriever.backbone, name)
        router.names, router.centres, router.radii = list(self._names), list(self._centres), list(self._radii)
