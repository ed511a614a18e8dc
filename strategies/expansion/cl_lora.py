"""CL-LoRA: low blocks share a LoRA over all domains, high blocks have one for each, picked by a router."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from clplat.config.space import Float
from clplat.mechanisms.feature_match import feature_match
from clplat.mechanisms.growth import GrowthState
from clplat.mechanisms.low_rank import LowRank, grow, low_rank_layers
from clplat.mechanisms.routing import Routing
from clplat.models.backbone import Backbone
from clplat.parts.adapters._base import Adapter
from clplat.parts.adapters._growing import Growing
from clplat.parts.adapters._targets import in_last_blocks
from clplat.training.strategy import Strategy, SupportsLearning
from strategies.expansion.routed_experts import RoutedExperts

__all__ = ["CLLoRA"]

_LORA = Growing(alpha=8.0, targets="attention", towers="image")
_ROUTING = Routing()


class CLLoRA(Strategy):
    """Growth: a LoRA that all domains share in the lower blocks, and one for each domain in the upper ones.

    Shared: A has random orthonormal rows and stays; B goes on with every domain. What the lower half of the
    blocks makes of a picture is held to what it made of it before the domain, ``distill * (1 - cos)`` of the
    class tokens, whose gradient of row i of B is multiplied by ``|b_i| / mean_j |b_j|``, b the rows before.

    Of a domain: ``m B A`` with a weight m for each layer, which begins between 0.5 and 1.5 and is trained;
    ``orthogonality * mean_t |cos(m_T, m_t)|`` keeps those of domains apart. At test time a router tells the
    domain of each picture by its features under the bare tower.

    Args:
        distill: weight of the distillation of the lower half.
        orthogonality: weight of the penalty on the weights of layers.
        lora: of both kinds; of the image tower alone, as in the paper.
        routing: how the domain of a picture is told.

    References:
        He et al., "CL-LoRA: Continual Low-Rank Adaptation for Rehearsal-Free Class-Incremental Learning",
        CVPR 2025, arXiv 2505.24816.

    Needs:
        A `ComposedRetriever` without another adapter, whose image tower is a vision transformer of open_clip.
        A composer with weights is trained in the first domain and frozen afterwards.

    Relations:
        `RoutedExperts` shares nothing between domains.

    Example:
        >>> CLLoRA(distill=1.0).distill
        1.0
    """

    any_module = False
    plain = "lora"
    brings = ("adapter", "prompt")
    stores = "weights"
    terms = ("distill", "orthogonality")
    routes = True

    def __init__(
        self,
        distill: Annotated[float, Float(0.1, 30.0, log=True)] = 5.0,
        orthogonality: float = 1e-4,
        lora: Growing = _LORA,
        routing: Routing = _ROUTING,
    ) -> None:
        if distill < 0 or orthogonality < 0:
            raise ValueError(
                f"distill and orthogonality must be at least 0, not {distill} and {orthogonality}"
            )
        if lora.towers != "image":
            raise ValueError(f"lora.towers must be image, not {lora.towers}")
        self.distill, self.orthogonality = distill, orthogonality
        self.lora, self.routing = lora, routing
        self.experts = RoutedExperts(_Halves(lora), routing)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.experts.before_experience(learner, experience)

    def rebuild(self, learner: SupportsLearning) -> None:
        self.experts.rebuild(learner)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        model: Any = learner.model
        names = self.experts.router.names
        if len(names) < 2:
            return {}
        with _lower_half(model.backbone, "before", gains=False) as depth, torch.no_grad():
            before = model.backbone.image_bottom(batch.pictures.pixels, depth)[:, 0]
        with _lower_half(model.backbone, "shared", gains=True) as depth:
            now = model.backbone.image_bottom(batch.pictures.pixels, depth)[:, 0]
        *earlier, own = [normalize(_weights(model.backbone, name), dim=0) for name in names]
        overlap = torch.stack([(own @ other).abs() for other in earlier]).mean()
        return {
            "distill": self.distill * feature_match(now, before),
            "orthogonality": self.orthogonality * overlap,
        }


class _Halves(Adapter):
    """The shared LoRA below, with a copy of what it was before the domain, and that of a domain above."""

    mergeable = False

    def __init__(self, lora: Growing) -> None:
        self.lora = lora

    def attach(self, backbone: Backbone, name: str = "default") -> list[str]:
        r, magnitude = self.lora.r, self.lora.alpha / self.lora.r
        layers = self.lora.layers(backbone)
        upper = set(in_last_blocks(layers, (backbone.image_layers or 0) // 2))
        lower = [path for path in layers if path not in upper]
        held = backbone.adapters.installed
        if "shared" not in held:
            for layer in grow(backbone, lower, "shared", r, magnitude).values():
                layer.newest().make_orthonormal()
        elif "before" not in held:
            grow(backbone, lower, "before", r, magnitude)
        for layer in grow(backbone, sorted(upper), name, r).values():
            layer.newest().make_orthonormal()
            layer.newest().magnitude.requires_grad_(True).data.uniform_(0.5, 1.5)
        for shared, before in _pairs(backbone):
            if before is not None:
                before.load_state_dict(shared.state_dict())
            shared.up.requires_grad_(True)
        self.activate(backbone, name)
        return [key for key, parameter in backbone.named_parameters() if parameter.requires_grad]

    def activate(self, backbone: Backbone, name: str | None) -> None:
        state = backbone.adapters
        if isinstance(state, GrowthState):  # before the first is attached the base is bare
            state.use([] if name is None else ["shared", name])


def _pairs(backbone: Backbone) -> Iterator[tuple[LowRank, LowRank | None]]:
    """The shared change of each lower layer, and its copy."""
    for layer in low_rank_layers(backbone).values():
        changes = dict(layer.changes.items())
        shared, before = changes.get("shared"), changes.get("before")
        if isinstance(shared, LowRank):
            yield shared, before if isinstance(before, LowRank) else None


def _weights(backbone: Backbone, name: str) -> Tensor:
    """The weights of the layers of a domain."""
    found = [layer.changes[name] for layer in low_rank_layers(backbone).values() if name in layer.changes]
    return torch.stack([change.magnitude for change in found if isinstance(change, LowRank)])


@contextmanager
def _lower_half(backbone: Backbone, name: str, gains: bool) -> Iterator[int]:
    """Inside, the shared LoRA is in use as it was or as it is; the number of its blocks."""
    state = backbone.adapters
    assert isinstance(state, GrowthState) and backbone.image_layers is not None
    used, state_of = state.used, list(_pairs(backbone))
    state.use([name])
    try:
        for shared, before in state_of:
            if gains and before is not None:
                lengths = before.up.detach().norm(dim=1, keepdim=True)
                shared.gains = lengths / lengths.mean().clamp_min(1e-12)
        yield backbone.image_layers - backbone.image_layers // 2
    finally:
        state.use(used)
        for shared, _ in state_of:
            shared.gains = None
