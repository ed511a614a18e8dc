"""The optimizer of a stream: its groups, the tensors that it holds now, learning rates, clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from clplat.config.groups import TrainConfig
from clplat.errors import UserError
from clplat.mechanisms.parameter_groups import Group

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


def hold_trainable(
    optimizer: Optimizer,
    tensors: Iterable[tuple[str, nn.Parameter]],
    groups: Callable[[Sequence[str]], Sequence[Group]],
) -> list[nn.Parameter]:
    """Let the optimizer hold exactly the trainable tensors, by role and group; survivors keep their state.

    Args:
        tensors: from `named_tensors`.
        groups: names of what is trained -> those that are optimized in their own way.

    Returns:
        The trainable tensors, in their order.

    Raises:
        UserError: a group names what is not trained.
    """
    trained = {name: parameter for name, parameter in tensors if parameter.requires_grad}
    backbone, head = optimizer.param_groups[:2]
    own = {id(group): group | {"params": []} for group in (backbone, head)}
    made: dict[tuple[int, float, float | None], dict[str, Any]] = {
        (id(group), 1.0, None): own[id(group)] for group in (backbone, head)
    }
    special = _by_name(groups([*trained]), trained)
    for name, parameter in trained.items():
        role, chosen = backbone if name.startswith("backbone.") else head, special.get(name, _USUAL)
        key = (id(role), chosen.lr_factor, chosen.weight_decay)
        if key not in made:
            decay = {} if chosen.weight_decay is None else {"weight_decay": chosen.weight_decay}
            made[key] = {**role, **decay, "lr_factor": chosen.lr_factor, "params": []}
        made[key]["params"].append(parameter)
    alive = {id(parameter) for parameter in trained.values()}
    for gone in [p for p in optimizer.state if id(p) not in alive]:
        del optimizer.state[gone]
    optimizer.param_groups[:] = made.values()
    return [*trained.values()]


_USUAL = Group(())


def _by_name(groups: Sequence[Group], trained: Collection[str]) -> dict[str, Group]:
    found: dict[str, Group] = {}
    for group in groups:
        for name in group.names:
            if name not in trained:
                raise UserError(f"a group of parameters names '{name}', which is not trained")
            found.setdefault(name, group)
    return found


def set_learning_rates(
    optimizer: Optimizer, config: TrainConfig, done: int, total: int, lr: float | None = None
) -> None:
    """Warm up linearly over ``warmup * total`` steps; decay to zero along a cosine, or stay constant.

    Args:
        done: steps of this phase so far; total: all of them.
        lr: of everything, in place of those of the configuration.
    """
    factor = min(1.0, (done + 1) / max(1.0, config.warmup * total))
    if config.schedule == "cosine":
        factor *= 0.5 * (1 + math.cos(math.pi * done / total))
    for group in optimizer.param_groups:
        own = config.head_lr if group["role"] == "head" and config.head_lr is not None else config.lr
        group["lr"] = (own if lr is None else lr) * factor * group.get("lr_factor", 1.0)


def clip_gradient(trained: Sequence[nn.Parameter], limit: float | None) -> Tensor:
    """The norm of the gradient of these tensors, which is cut to ``limit`` if one is given."""
    norm = nn.utils.get_total_norm([p.grad for p in trained if p.grad is not None])
    if limit is not None:
        nn.utils.clip_grads_with_norm_(trained, limit, norm)
    return norm
