"""A small network that is trained beside a model and never deployed with it, by an optimizer of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from clplat.randomness import seeded

__all__ = ["Projector"]


class Projector:
    """Rows (N, D) to rows (N, E): linear, or with a hidden layer of normalised units.

    A term of a strategy is computed with it; the loop differentiates the sum of all terms and knows nothing
    of it, and `step` takes what gradient has come. It is made at the first rows, when widths are known.

    Args:
        hidden: width of the layer between; 0: linear.
        lr: of Adam.
        seed: of the first weights.

    Example:
        >>> projector = Projector(seed=0)
        >>> projector(torch.ones(2, 3), width=5).shape
        torch.Size([2, 5])
    """

    def __init__(self, hidden: int = 0, lr: float = 1e-3, seed: int = 0) -> None:
        self.hidden, self.lr, self.seed = hidden, lr, seed
        self.net: nn.Sequential | None = None
        self._adam: torch.optim.Adam | None = None

    def __call__(self, rows: Tensor, width: int) -> Tensor:
        """Rows (N, D) as rows (N, width), with gradients for both."""
        if self.net is None:
            self._make(rows.shape[1], width, rows.device)
        assert self.net is not None
        made: Tensor = self.net(rows.float())
        return made

    def _make(self, width: int, out: int, device: torch.device | str) -> None:
        with seeded(self.seed, "projector"):
            if self.hidden:
                layers: list[nn.Module] = [
                    nn.Linear(width, self.hidden),
                    nn.LayerNorm(self.hidden),
                    nn.ReLU(),
                    nn.Linear(self.hidden, out),
                ]
            else:
                layers = [nn.Linear(width, out)]
        self.net = nn.Sequential(*layers).to(device)
        self._adam = torch.optim.Adam(self.net.parameters(), lr=self.lr)

    def step(self, averaged: Callable[[Sequence[Tensor]], Sequence[Tensor]] = list) -> None:
        """Learn from the gradient since the last step; one that is not finite is passed over.

        Args:
            averaged: of tensors over the processes that train together, ``learner.averaged``.
        """
        held = [p for p in self.net.parameters() if p.grad is not None] if self.net is not None else []
        gradients = averaged([p.grad for p in held if p.grad is not None]) if held else []
        for parameter, gradient in zip(held, gradients, strict=True):
            parameter.grad = gradient
        if self._adam is not None and held and all(bool(g.isfinite().all()) for g in gradients):
            self._adam.step()
        for parameter in held:
            parameter.grad = None

    def bytes(self) -> int:
        """Bytes of its weights."""
        own = [] if self.net is None else [*self.net.parameters()]
        return sum(p.numel() * p.element_size() for p in own)

    def state_dict(self) -> dict[str, Any]:
        if self.net is None or self._adam is None:
            return {"weights": None, "moments": None}
        return {"weights": dict(self.net.state_dict()), "moments": self._adam.state_dict()["state"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["weights"] is None:
            self.net = self._adam = None
            return
        weights, last = state["weights"], f"{3 if self.hidden else 0}.weight"
        self._make(weights["0.weight"].shape[1], len(weights[last]), weights[last].device)
        assert self.net is not None and self._adam is not None
        self.net.load_state_dict(weights)
        groups = self._adam.state_dict()["param_groups"]
        self._adam.load_state_dict({"state": state["moments"], "param_groups": groups})
