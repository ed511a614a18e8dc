"""What each domain changed of the weights before the stream, from which every domain is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clplat.mechanisms.merging import task_vector, total
from clplat.mechanisms.weight_space import grown, padded, set_weights, weights_of

__all__ = ["TaskVectors"]


class TaskVectors:
    """The weights before the stream, and the changes of all domains since, or their sum.

    Args:
        summed: only the sum of the changes is kept.

    Example:
        >>> model, changes = nn.Linear(1, 1, bias=False), TaskVectors()
        >>> _ = nn.init.ones_(model.weight)
        >>> for value in (2.0, 5.0):
        ...     changes.begin(model)
        ...     model.weight.data += value
        ...     changes.end(model)
        >>> [float(one["weight"]) for one in changes.vectors]
        [2.0, 5.0]
    """

    def __init__(self, summed: bool = False) -> None:
        self.summed = summed
        self.base: dict[str, Tensor] = {}
        self.vectors: list[dict[str, Tensor]] = []

    def begin(self, model: nn.Module) -> None:
        """Before a domain: go back to the weights before the stream."""
        if not self.base:
            self.base = weights_of(model)
        set_weights(model, self.base)

    def follow(self, model: nn.Module) -> None:
        """In training: a head grows after `begin`; its new rows are nothing yet but where they begin."""
        self.base = grown(self.base, model)

    @torch.no_grad()
    def end(self, model: nn.Module, change: Mapping[str, Tensor] | None = None) -> None:
        """After a domain: keep what it changed.

        Args:
            change: in place of the whole of it.
        """
        new = task_vector(self.base, weights_of(model)) if change is None else dict(change)
        earlier = [{n: padded(t, self.base[n].shape) for n, t in v.items()} for v in self.vectors]
        self.vectors = [total([*earlier, new])] if self.summed else [*earlier, new]

    def state_dict(self) -> dict[str, Any]:
        return {"base": self.base, "vectors": self.vectors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.base, self.vectors = state["base"], state["vectors"]
