"""The optimizer of a stream: its groups, the tensors that it holds now, learning rates, clipping."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from clplat.config.groups import TrainConfig

__all__ = ["clip_gradient", "hold_trainable", "named_tensors", "new_optimizer", "set_learning_rates"]


def new_optimizer(config: TrainConfig) -> Optimizer:
    """An empty optimizer with one group for the backbone's weights and one for all others."""
    kinds: dict[str, Any] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    groups: list[dict[str, Any]] = [{"params": [], "role": "backbone"}, {"params": [], "role": "head"}]
    # One call for all tensors; the same bits as tensor by tensor, in half the time also on the CPU.
    made: Optimizer = kinds[config.optimizer](
        groups, lr=config.lr, weight_decay=config.weight_decay, foreach=True
    )
    return made


def named_tensors(model: nn.Module, loss: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """All that may be trained, by name: of the model, then of its loss, ``loss.<name>``."""
    yield from model.named_parameters()
    yield from loss.named_parameters("loss")


def hold_trainable(optimizer: Optimizer, model: nn.Module, loss: nn.Module) -> list[nn.Parameter]:
    """Let the optimizer hold exactly the trainable tensors, grouped by role; survivors keep their state.

    Returns:
        The trainable tensors, in the order of `named_tensors`.
    """
    roles: dict[str, list[nn.Parameter]] = {"backbone": [], "head": []}
    for name, parameter in named_tensors(model, loss):
        if parameter.requires_grad:
            roles["backbone" if name.startswith("backbone.") else "head"].append(parameter)
    alive = {id(parameter) for parameters in roles.values() for parameter in parameters}
    for gone in [p for p in optimizer.state if id(p) not in alive]:
        del optimizer.state[gone]
    for group in optimizer.param_groups:
        group["params"] = roles[group["role"]]
    return [parameter for _, parameter in named_tensors(model, loss) if parameter.requires_grad]


def set_learning_rates(optimizer: Optimizer, config: TrainConfig, done: int, total: int) -> None:
    """Warm up linearly over ``warmup * total`` steps; decay to zero along a cosine, or stay constant.

    Args:
        done: steps of this experience so far; total: all of them.
    """
    factor = min(1.0, (done + 1) / max(1.0, config.warmup * total))
    if config.schedule == "cosine":
        factor *= 0.5 * (1 + math.cos(math.pi * done / total))
    for group in optimizer.param_groups:
        base = config.head_lr if group["role"] == "head" and config.head_lr is not None else config.lr
        group["lr"] = base * factor


def clip_gradient(trained: Sequence[nn.Parameter], limit: float | None) -> Tensor:
    """The norm of the gradient of these tensors, which is cut to ``limit`` if one is given."""
    norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
    if limit is not None:
        nn.utils.clip_grads_with_norm_(trained, limit, norm)
    return norm
