"""Surgery on the MLPs of a backbone: experts beside them or in their place, with a gate for every token."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from clplat.mechanisms.experts import top_k_gates
from clplat.models.adapters import AdapterState, Route
from clplat.models.backbone import Backbone
from clplat.models.names import refuse_wrapped
from clplat.parts.adapters._blocks import transformer, which

__all__ = ["ExpertState", "Experts", "Mixture", "install_experts"]


class Experts(nn.Module):
    """The experts of one block under one name, and the gate between them.

    Args:
        k: experts that a token goes through.
        count: of experts.
        width: of the tokens.
    """

    #: No token of a batch may choose an expert: it has no gradient then.
    may_idle = True
    #: They add to what the MLP makes; False: they stand in its place.
    beside: ClassVar[bool] = True

    def __init__(self, k: int, count: int, width: int) -> None:
        super().__init__()
        self.k = k
        self.gate = nn.Linear(width, count, bias=False)

    def forward(self, h: Tensor) -> tuple[Tensor, Route | None]:
        """What the experts make of (N, W) tokens, and how they were chosen, if a gate did."""
        logits = self.gate(h)
        gates = top_k_gates(logits, self.k)
        return self.made(h, gates), (logits, gates)

    def made(self, h: Tensor, gates: Tensor) -> Tensor:
        """What the experts make of (N, W) tokens with these weights (N, E)."""
        raise NotImplementedError

    def idle(self) -> int:
        """Parameters that a token does not go through."""
        raise NotImplementedError


class Mixture(nn.Module):
    """The MLP of a block, and the experts of the adapter in use beside it or in its place."""

    def __init__(self, base: nn.Module, state: ExpertState) -> None:
        super().__init__()
        self.base, self.experts, self.state = base, nn.ModuleDict(), state

    def forward(self, h: Tensor) -> Tensor:
        name = self.state.active or ""
        if name not in self.experts:
            bare: Tensor = self.base(h)
            return bare
        experts: Any = self.experts[name]
        made, route = experts(h.flatten(0, -2))
        if route and (self.state.watching or (self.training and torch.is_grad_enabled())):
            self.state.routes.append(route)
        out: Tensor = made.view_as(h)
        return self.base(h) + out if experts.beside else out


class ExpertState(AdapterState):
    """Mixtures around the MLPs, and what their gates decided in the training step that is being made."""

    def __init__(self) -> None:
        super().__init__()
        self.routes: list[Route] = []
        self.watching = False
        #: What an adapter makes of the routes of a step: objectives of one block, weighted, by name.
        self.losses: dict[str, Callable[[Route], Mapping[str, Tensor]]] = {}

    def base_key(self, key: str) -> str:
        return key.replace(".mlp.base.", ".mlp.")

    def in_use(self, module: nn.Module) -> tuple[nn.Module, frozenset[str]]:
        if not isinstance(module, Mixture):
            return module, frozenset()
        name = self.active or ""
        if name not in module.experts:
            return module.base, frozenset()
        experts: Any = module.experts[name]
        others = frozenset(name for name in module.experts if name != self.active)
        return module, others if experts.beside else others | {"base"}

    def knows(self, module: nn.Module) -> bool:
        return isinstance(module, Mixture)

    def begin(self) -> None:
        self.routes.clear()

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """The objectives of the adapter in use, the mean over the blocks that ran."""
        routes, self.routes = self.routes, []
        found = [self.losses[self.active](route) for route in routes] if self.active else []
        names = found[0] if found else ()
        return {name: torch.stack([each[name] for each in found]).mean() for name in names}

    @contextmanager
    def watched(self) -> Iterator[list[Route]]:
        before, self.routes, self.watching = self.routes, [], True
        try:
            yield self.routes
        finally:
            self.routes, self.watching = before, False

    def parameters_used(self, network: nn.Module) -> tuple[int, int]:
        used, idle = sum(parameter.numel() for parameter in network.parameters()), 0
        for mixture in (module for module in network.modules() if isinstance(module, Mixture)):
            worker, unused = self.in_use(mixture)
            for name, parameter in mixture.named_parameters():
                parts = name.split(".")
                kept = parts[0] == "base" if worker is not mixture else not {parts[0], parts[1]} & unused
                used -= 0 if kept else parameter.numel()
            if worker is mixture:
                experts: Any = mixture.experts[self.active or ""]
                idle += experts.idle()
        return used, used - idle


def install_experts(
    backbone: Backbone,
    name: str,
    method: str,
    options: Mapping[str, Any],
    make: Callable[[Any], Experts],
    losses: Callable[[Route], Mapping[str, Tensor]],
    towers: Literal["both", "image", "text"] = "both",
    every: int = 1,
) -> list[str]:
    """Put experts into the blocks of a backbone under ``name`` and use them; those before are frozen.

    Args:
        method, options: configuration of the adapter, as in `AdapterState.installed`.
        make: the experts of a block.
        losses: objectives of one block's routes, weighted, by name.
        towers: one tower or both.
        every: each so-many-th block, the last of a tower among them.

    Returns:
        The names of what is trained.

    Raises:
        UserError: the name is taken, adapters of another kind are attached, or a tower is opaque.
    """
    refuse_wrapped(backbone.model)
    state = ExpertState.around(backbone, name)
    held = [transformer(backbone, tower).resblocks for tower in which(backbone, towers)]
    trained: set[int] = set()
    for block in (block for own in held for block in [*own][::-1][::every][::-1]):
        if not isinstance(block.mlp, Mixture):
            block.mlp = Mixture(block.mlp, state)
        block.mlp.experts.requires_grad_(False)
        block.mlp.experts[name] = made = make(block).to(backbone.logit_scale)
        trained |= {id(parameter) for parameter in made.parameters()}
    state.losses[name] = losses
    state.add(name, method, **options)
    return [key for key, parameter in backbone.named_parameters() if id(parameter) in trained]
