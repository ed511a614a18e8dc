"""Terms of a loss whose gradient is known beforehand, or goes only to some of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clplat.mechanisms.parameter_groups import relative_depths
from clplat.models.names import named_parameters

__all__ = ["Source", "apart", "carried"]

#: Whose gradient a weight follows: that of all examples, of the current batch's or of the replayed ones'.
Source = Literal["both", "current", "replay"]


def carried(value: Tensor, gradients: Mapping[nn.Parameter, Tensor]) -> Tensor:
    """A scalar of this value whose backward pass gives these gradients, and no others.

    Example:
        >>> weight = nn.Parameter(torch.ones(2))
        >>> term = 3.0 * carried(torch.tensor(5.0), {weight: torch.tensor([1.0, 0.0])})
        >>> term.backward()
        >>> term.item(), weight.grad.tolist()
        (15.0, [3.0, 0.0])
    """
    made: Tensor = _Carried.apply(value, [*gradients.values()], *gradients)
    return made


class _Carried(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, outer: Tensor) -> Any:
        return (None, None, *(outer * gradient for gradient in ctx.gradients))


def apart(
    model: nn.Module, current: Tensor, replayed: Tensor, lower: Source, upper: Source, split: float = 0.5
) -> Tensor:
    """The replayed examples' term, so that parts of the towers learn from one kind of examples alone.

    Added to the loss of the current batch, its backward pass leaves every weight with the gradient of what it
    follows: ``current``: of the current batch, ``replay``: of the replayed examples, ``both``: the sum. One
    more backward pass through the current batch is made where something follows the replayed ones alone.

    Args:
        model: whose weights they are.
        current: loss of the current batch, a part of what is differentiated anyway.
        replayed: loss of the replayed examples; its graph is used up.
        lower, upper: what weights below and above the split follow.
        split: how far up a tower that is, see `clplat.mechanisms.parameter_groups.relative_depths`.

    References:
        Huang et al. 2023 (ConSlide), arXiv 2308.13324: asynchronous updating.
    """
    named = {name: p for name, p in named_parameters(model) if p.requires_grad}
    depths = relative_depths([*named])
    follows = {name: lower if depths[name] < split else upper for name in named}
    gives = [p for name, p in named.items() if follows[name] != "current"]
    apart_from = [p for name, p in named.items() if follows[name] == "replay"]
    pull: dict[nn.Parameter, Tensor] = {}
    for sign, loss, tensors in ((1.0, replayed, gives), (-1.0, current, apart_from)):
        if not tensors:
            continue
        found = torch.autograd.grad(loss, tensors, retain_graph=loss is current, allow_unused=True)
        for parameter, gradient in zip(tensors, found, strict=True):
            if gradient is not None:
                pull[parameter] = pull.get(parameter, torch.zeros_like(gradient)) + sign * gradient
    return carried(replayed.detach(), pull)
