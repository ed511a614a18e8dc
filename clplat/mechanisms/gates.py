"""Gated residuals: a part that passes a gate, plus what a network adds; and how both begin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

__all__ = ["GatedResidual", "Normed", "network"]

#: What stands before the first layer of a network.
Normed: TypeAlias = Literal["none", "batch", "layer"]


def network(
    width: int, out: int, layers: int, *, norm: Normed = "none", leaky: bool = False, dropout: float = 0.0
) -> nn.Sequential:
    """A network on rows (B, width) -> (B, out) whose hidden layers keep the width.

    ``norm``, then with ``leaky`` (linear, dropout, leaky relu) for every layer but the last; otherwise a relu
    stands before every linear layer, also the first, unless there is no norm. Drawn by torch's generator.

    Example:
        >>> [type(part).__name__ for part in network(4, 2, 2, norm="batch")]
        ['BatchNorm1d', 'ReLU', 'Linear', 'ReLU', 'Linear']
        >>> [type(part).__name__ for part in network(4, 2, 2, norm="layer", leaky=True)]
        ['LayerNorm', 'Linear', 'Dropout', 'LeakyReLU', 'Linear']
    """
    norms: dict[Normed, list[nn.Module]] = {
        "none": [],
        "batch": [nn.BatchNorm1d(width)],
        "layer": [nn.LayerNorm(width)],
    }
    parts = list(norms[norm])
    if parts and not leaky:
        parts.append(nn.ReLU())
    for _ in range(layers - 1):
        parts.append(nn.Linear(width, width))
        parts += [nn.Dropout(dropout), nn.LeakyReLU(0.2)] if leaky else [nn.ReLU()]
    return nn.Sequential(*parts, nn.Linear(width, out))


class GatedResidual(nn.Module):
    """``w_0 g(x) base + w_1 h(x)``, with networks g and h of what the gate sees.

    Args:
        gate: g up to its last layer's output, (B, S) -> (B, D).
        residual: h, (B, S) -> (B, D).
        weights: w_0 and w_1 at first; both are trained.
        opened: what makes a gate of g's output, such as the sigmoid.

    Example:
        >>> block = GatedResidual(nn.Linear(4, 2), nn.Linear(4, 2), (1.0, 10.0))
        >>> block.close()
        >>> block(torch.ones(1, 2), torch.ones(1, 4)).detach()
        tensor([[0.5000, 0.5000]])
    """

    def __init__(
        self,
        gate: nn.Module,
        residual: nn.Module,
        weights: tuple[float, float],
        opened: Callable[[Tensor], Tensor] = torch.sigmoid,
    ) -> None:
        super().__init__()
        self.gate, self.residual, self.opened = gate, residual, opened
        self.weights = nn.Parameter(torch.tensor(weights))

    def forward(self, base: Tensor, seen: Tensor) -> Tensor:
        """(B, D) of the base (B, D) and of what is seen (B, S)."""
        gated: Tensor = self.opened(self.gate(seen)) * base * self.weights[0]
        added: Tensor = self.residual(seen) * self.weights[1]
        return gated + added

    def close(self, gate: float = 0.0) -> None:
        """Make the residual zero and g one number for every input, until the first step."""
        for part, bias in ((self.gate, gate), (self.residual, 0.0)):
            last: Any = part if isinstance(part, nn.Linear) else list(part.children())[-1]
            nn.init.zeros_(last.weight)
            nn.init.constant_(last.bias, bias)
