"""How far an optimizer moves a weight for each unit of its gradient: what a step of its own length needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["step_sizes"]


def step_sizes(optimizer: Optimizer) -> dict[nn.Parameter, Tensor | float]:
    """Parameter -> how far a gradient of one moves it, in the long run; what was never stepped is left out.

    ``lr / (1 - momentum)`` for SGD, ``lr / (sqrt(v) + eps)``, weight by weight, for Adam and its relatives,
    RMSprop and Adagrad, from the squared gradients that they keep; other optimizers count as SGD.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> round(step_sizes(torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9))[layer.weight], 3)
        1.0
    """
    state = optimizer.state
    return {
        parameter: _size(group, state.get(parameter, {}))
        for group in optimizer.param_groups
        for parameter in group["params"]
        # An optimizer that adapts has a state as soon as it has moved a weight.
        if parameter in state or not group.keys() & {"betas", "alpha", "lr_decay"}
    }


def _size(group: Mapping[str, Any], state: Mapping[str, Any]) -> Tensor | float:
    size = group["lr"] / max(1 - group.get("momentum", 0.0), 1e-8) * (1 - group.get("dampening", 0.0))
    if "exp_avg_sq" in state:
        squares = state.get("max_exp_avg_sq", state["exp_avg_sq"])
        squares = squares / (1 - group["betas"][1] ** state["step"])
    elif (squares := state.get("square_avg", state.get("sum"))) is None:
        return size  # type: ignore[no-any-return]
    return size / (squares.sqrt() + group["eps"])  # type: ignore[no-any-return]
