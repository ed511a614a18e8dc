"""What PEFT does to the layers of a backbone: names of tensors, what is in use, what is drawn at random."""

from __future__ import annotations

from typing import Any

from torch import nn

from clplat.models.adapters import AdapterState

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
