"""What a backbone knows of the adapters around its layers: nothing, until one puts its state there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from typing_extensions import Self

from clplat.errors import UserError, unknown_name

__all__ = ["AdapterState", "Route"]

#: What a gate decided for (N, W) tokens: its logits (N, E), and the weights (N, E) of the experts.
Route: TypeAlias = tuple[Tensor, Tensor]


class AdapterState:
    """The state of a backbone without adapters; a kind of adapter that wraps layers derives its own from it.

    Attributes:
        installed: configuration by name of the attached adapters.
        active: the name of the one in use.
        rewritten_by: the adapter whose attaching changed the base weights.
    """

    @property
    def stacks(self) -> bool:
        """Whether those attached before can stay in use behind a new one, see `use`."""
        return False

    @property
    def together(self) -> tuple[str, ...]:
        """Names of the adapters in use, the active one last."""
        return () if self.active is None else (self.active,)

    def __init__(self) -> None:
        self.installed: dict[str, dict[str, Any]] = {}
        self.active: str | None = None
        self.rewritten_by: str | None = None

    @classmethod
    def around(cls, backbone: Any, name: str) -> Self:
        """The state of this kind around a backbone that is to get an adapter: a new one for the first.

        Raises:
            UserError: the name is taken, or adapters of another kind are attached.
        """
        state = backbone.adapters
        if state.installed and not isinstance(state, cls):
            raise UserError(f"'{next(iter(state.installed))}' is attached already, of another kind")
        if name in state.installed:
            raise UserError(f"'{name}' is attached already: merge it or choose another name")
        if not isinstance(state, cls):
            backbone.adapters = state = cls()
        return state

    def add(self, name: str, method: str, **options: Any) -> None:
        """Note an adapter that was attached, with how it was configured, and use it."""
        self.installed[name] = {"method": method, "options": options}
        self.active = name

    def switch(self, name: str | None) -> None:
        """Use the adapter of this name from now on, or with None the bare base.

        Raises:
            UserError: no adapter of this name is attached.
        """
        if name is not None and name not in self.installed:
            raise unknown_name("attached adapter", name, self.installed)
        self.active = name

    def use(self, names: Sequence[str]) -> None:
        """Use these adapters together, in this order; none: the bare base.

        Raises:
            UserError: adapters of this kind work one at a time.
        """
        if len(names) > 1:
            method = self.installed[names[-1]]["method"]
            raise UserError(f"adapters '{method}' work one at a time: no other stays in use behind a new one")
        self.switch(names[-1] if names else None)

    def base_key(self, key: str) -> str:
        """The name that a base tensor has without adapters; those of adapters keep theirs."""
        return key

    def in_use(self, module: nn.Module) -> tuple[nn.Module, frozenset[str]]:
        """The module that works in place of this one, and names of its attributes and children that idle."""
        return module, frozenset()

    def is_stochastic(self, module: nn.Module) -> bool:
        """Whether this is a layer of an adapter which may draw in training mode."""
        return False

    def mixes_items(self, module: nn.Module) -> bool:
        """Whether what this layer makes of an item depends on the batch, in evaluation mode as well."""
        return False

    def factors(self, network: nn.Module) -> frozenset[str]:
        """Names of the adapters' own tensors in the network, of which `deltas` is what they make of it."""
        return frozenset()

    def deltas(self, network: nn.Module) -> dict[str, Tensor]:
        """What the adapters in use add to base weights, by the names that these have without adapters."""
        return {}

    @torch.no_grad()
    def absorb(self, network: nn.Module, deltas: Mapping[str, Tensor]) -> None:
        """Add to the weights that the network computes with; what the adapters add to them stays.

        Raises:
            UserError: what an adapter makes of a layer depends on the base, so that the sum would be another.
        """
        base = {self.base_key(key): parameter for key, parameter in network.named_parameters()}
        for key, delta in deltas.items():
            if bool(delta.any()):  # an untouched weight gets no new version
                base[key].add_(delta)

    def knows(self, module: nn.Module) -> bool:
        """Whether this is a layer of an adapter, of which no attribute but the tensors changes."""
        return False

    def begin(self) -> None:
        """A training step begins: what layers noted for `terms` before is of no use."""

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """Objectives of the active adapter's own, weighted, as means over the examples of the batch."""
        return {}

    @contextmanager
    def watched(self) -> Iterator[list[Route]]:
        """Inside, forward passes of any mode note here what the gates of experts decide, block by block."""
        yield []

    def parameters_used(self, network: nn.Module) -> tuple[int, int]:
        """How many parameters the network in use has, and how many of them a token goes through."""
        used = sum(parameter.numel() for parameter in network.parameters())
        return used, used
