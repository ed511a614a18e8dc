"""LoRA per domain: one low-rank expert for each domain, and a router that does not know the domain."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from clplat.config.space import Int
from clplat.mechanisms.routing import Routing
from clplat.parts.adapters.peft import LoRA
from clplat.training.strategy import Strategy, SupportsLearning
from strategies.expansion.routed_experts import RoutedExperts

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

    Numbers:
        ``experts``: how many there are.

    Needs:
        A `ComposedRetriever` without another adapter. A composer with weights is trained in the first domain
        and frozen afterwards.

    Relations:
        `RoutedExperts` with the adapter ``lora`` and centroids; `Frozen` is its behaviour outside the stream;
        cost grows by one LoRA per domain.

    Example:
        >>> from strategies import LoRAPerDomain
        >>> LoRAPerDomain(r=4).state_dict()["names"]
        []
    """

    any_module = False
    stores = "weights"
    plain = "lora"
    brings = ("adapter", "prompt")
    routes = True

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
        self._experts = RoutedExperts(self.adapter, Routing(centres=prototypes, inside=quantile))

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._experts.before_experience(learner, experience)

    def rebuild(self, learner: SupportsLearning) -> None:
        self._experts.rebuild(learner)

    def numbers(self) -> dict[str, float]:
        return self._experts.numbers()

    def state_dict(self) -> dict[str, Any]:
        """The descriptions of the domains, as release 0.1.0 wrote them."""
        router = self._experts.router
        centres = [expert["centres"] for expert in router.experts]
        return {"names": list(router.names), "centres": centres, "radii": [-x for x in router.limits]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        names = state["names"]
        experts = [{"centres": centres} for centres in state["centres"]]
        limits = [-radius for radius in state["radii"]]
        self._experts.router.load_state_dict(
            {"names": names, "owners": range(len(names)), "limits": limits, "experts": experts}
        )

    def state_bytes(self) -> int:
        return self._experts.router.bytes()
