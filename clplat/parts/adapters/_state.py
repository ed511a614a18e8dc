"""What PEFT does to the layers of a backbone: names of tensors, what is in use, what is drawn at random."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clplat.errors import UserError
from clplat.models.adapters import AdapterState
from clplat.parts.adapters._methods import METHODS
from clplat.parts.adapters._objectives import objectives_of

__all__ = ["PeftState"]


class PeftState(AdapterState):
    """The adapters of a backbone whose layers PEFT has wrapped.

    Args:
        peft_model: PEFT's model around the backbone's. It is kept out of the backbone's submodules: there,
            every tensor of the model would get a second name.
    """

    def __init__(self, peft_model: Any) -> None:
        super().__init__()
        self.peft_model = peft_model
        self.used: tuple[str, ...] = ()
        #: What adapters that rewrote the base began with, where a decomposition by iteration gave it.
        self.starts: dict[str, dict[str, Tensor]] = {}
        self._wrapped: list[Any] = []

    @property
    def stacks(self) -> bool:
        return all(METHODS[entry["method"]].stacks for entry in self.installed.values())

    @property
    def together(self) -> tuple[str, ...]:
        return self.used

    def begin_with(self, name: str) -> None:
        """A new adapter was put around layers: it is the one in use."""
        self._wrapped = [layer for _, layer in _layers(self.peft_model.base_model.model)]
        self.active, self.used = name, (name,)

    def use(self, names: Sequence[str]) -> None:
        if len(names) > 1 and not self.stacks:
            super().use(names)
        self.active, self.used = (names[-1] if names else None), tuple(names)
        # PEFT's own switches walk over all adapters, to set `requires_grad` of their tensors.
        for layer in self._wrapped:
            layer._disable_adapters = not names
            if names:
                layer._active_adapter = [*names]

    def switch(self, name: str | None) -> None:
        super().switch(name)
        self.use([] if name is None else [name])

    def base_key(self, key: str) -> str:
        return key.replace(".base_layer", "")

    def in_use(self, module: nn.Module) -> tuple[nn.Module, frozenset[str]]:
        """Nothing of an adapter that is not in use counts: a bare base is itself again."""
        layer: Any = module
        if not hasattr(layer, "active_adapters") or not hasattr(layer, "base_layer"):
            return module, frozenset()
        held = [getattr(layer, name, {}) for name in layer.adapter_layer_names]
        known = {str(key) for entries in held if hasattr(entries, "keys") for key in entries}
        active = set() if layer.disable_adapters else known & set(layer.active_adapters)
        if not active and not getattr(layer, "merged_adapters", ()):
            return layer.base_layer, frozenset()
        return module, frozenset(known - active)

    def is_stochastic(self, module: nn.Module) -> bool:
        return hasattr(module, "active_adapters")

    def mixes_items(self, module: nn.Module) -> bool:
        # Lily averages its routers over the batch, also in evaluation mode.
        return hasattr(module, "lily_router") and not module.disable_adapters

    def knows(self, module: nn.Module) -> bool:
        return hasattr(module, "active_adapters")

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """Objectives of the active adapter's method."""
        if self.active is None:
            return {}
        return objectives_of(self._method, self._wrapped, self.active, self.installed[self.active]["options"])

    def factors(self, network: nn.Module) -> frozenset[str]:
        return frozenset(
            f"{path}.{key}"
            for path, layer in _layers(network)
            for key, _ in layer.named_parameters()
            if not key.startswith("base_layer.")
        )

    @torch.no_grad()
    def deltas(self, network: nn.Module) -> dict[str, Tensor]:
        found = {}
        for path, layer in _layers(network):
            base = dict(layer.get_base_layer().named_parameters())
            for key, merged in self._merged(layer).items():
                found[f"{path}.{key}"] = merged - base[key].detach()
        return found

    @torch.no_grad()
    def absorb(self, network: nn.Module, deltas: Mapping[str, Tensor]) -> None:
        before = self.deltas(network)
        super().absorb(network, deltas)
        for key, after in self.deltas(network).items():
            moved = deltas[key].abs().max() if key in deltas else after.new_zeros(())
            if (after - before[key]).abs().max() > 1e-5 + 1e-3 * moved:
                super().absorb(network, {name: -delta for name, delta in deltas.items()})
                raise UserError(
                    f"adapter '{self._method}' is no sum with the base weights ({key}), so that they cannot "
                    "be moved; use --adapter lora or --adapter full"
                )

    @property
    def _method(self) -> str:
        return str(self.installed[self.active or ""]["method"])

    def _merged(self, layer: Any) -> dict[str, Tensor]:
        """The weights that a layer computes with: those of a copy in which the adapter was merged."""
        alone = copy.deepcopy(layer)
        if self.used and not layer.disable_adapters:
            try:
                alone.merge(adapter_names=[*self.used])
            except (AttributeError, NotImplementedError, TypeError) as error:
                raise UserError(
                    f"adapter '{self._method}' cannot be merged, so that its weights cannot be read"
                ) from error
        return {key: p.detach() for key, p in alone.get_base_layer().named_parameters()}


def _layers(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """PEFT's layers in a network, by the names that they have there."""
    for path, module in network.named_modules():
        if hasattr(module, "get_base_layer") and hasattr(module, "merge"):
            yield path, module
