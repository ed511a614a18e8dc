"""A quadratic pull of the weights to where earlier domains left them, stronger where a weight mattered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clplat.mechanisms.examples import tensor_bytes
from clplat.mechanisms.weight_space import leading, padded

__all__ = ["QuadraticAnchor"]


class QuadraticAnchor:
    """``strength / 2 * sum_i importance_i (theta_i - anchor_i)^2`` over the trainable weights.

    Which weights mattered is the method's own: squared gradients (EWC), the path of training (SI), the
    sensitivity of outputs (MAS), or ones (L2). A head that grew is pulled in its old part only.

    Args:
        strength: of the penalty.
        decay: how much of the earlier importance is kept when a new one is added.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> anchor = QuadraticAnchor(strength=3.0)
        >>> anchor.consolidate(layer, {"weight": torch.tensor([[2.0]])})
        >>> layer.weight.data += 0.5
        >>> round(anchor.penalty(layer).item(), 4)  # 3 / 2 * 2 * 0.5^2
        0.75
    """

    def __init__(self, strength: float, decay: float = 1.0) -> None:
        if not (strength >= 0 and 0 <= decay <= 1):
            raise ValueError(f"strength must be at least 0 and decay in [0, 1], not {strength} and {decay}")
        self.strength, self.decay = strength, decay
        self.importance: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}

    def penalty(self, model: nn.Module) -> Tensor | None:
        """The penalty now; None before the first `consolidate`."""
        parts = [(f * (p - a) ** 2).sum() for _, p, f, a in self._held(model)]
        return self.strength / 2 * torch.stack(parts).sum() if parts else None

    @torch.no_grad()
    def task_gradients(self, model: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Name, weight and gradient without the penalty's own part, which is known in closed form."""
        held = {name: (p, f, a) for name, p, f, a in self._held(model)}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and parameter.grad is not None:
                task = parameter.grad
                if name in held:
                    p, f, a = held[name]
                    task = task - padded(self.strength * f * (p - a), task.shape)
                yield name, parameter, task

    @torch.no_grad()
    def consolidate(self, model: nn.Module, importance: Mapping[str, Tensor]) -> None:
        """After an experience: add up how much weights mattered, and hold them where they are now."""
        named = dict(model.named_parameters())
        for name, new in importance.items():
            earlier = self.importance.get(name)
            self.importance[name] = new if earlier is None else self.decay * padded(earlier, new.shape) + new
        self.anchor |= {n: named[n].detach().clone() for n in self.importance if n in named}

    def bytes(self) -> int:
        """Bytes of what is held."""
        return tensor_bytes([self.importance, self.anchor])

    def state_dict(self) -> dict[str, Any]:
        return {"importance": self.importance, "anchor": self.anchor}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.importance, self.anchor = state["importance"], state["anchor"]

    def _held(self, model: nn.Module) -> list[tuple[str, Tensor, Tensor, Tensor]]:
        """Name, weight, importance and anchor of what is pulled; of a weight that grew, its old block."""
        return [
            (name, leading(p, self.anchor[name]), self.importance[name], self.anchor[name])
            for name, p in model.named_parameters()
            if p.requires_grad and name in self.importance
        ]
