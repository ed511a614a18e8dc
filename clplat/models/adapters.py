"""What a backbone knows of the adapters around its layers: nothing, until one puts its state there."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

__all__ = ["AdapterState"]


class AdapterState:
    """The state of a backbone without adapters; a kind of adapter that wraps layers derives its own from it.

    Attributes:
        installed: configuration by name of the attached adapters.
        active: the name of the one in use.
        rewritten_by: the adapter whose attaching changed the base weights.
    """

    def __init__(self) -> None:
        self.installed: dict[str, dict[str, Any]] = {}
        self.active: str | None = None
        self.rewritten_by: str | None = None

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

    def knows(self, module: nn.Module) -> bool:
        """Whether this is a layer of an adapter, of which no attribute but the tensors changes."""
        return False

    def terms(self, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """Objectives of the active adapter's own, weighted, as means over the examples of the batch."""
        return {}
