"""Several processes that train one model: what they agree on, and the model inside its wrappers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

__all__ = ["bare", "gathered", "mean", "spread", "together"]

T = TypeVar("T")


def bare(model: nn.Module) -> nn.Module:
    """The module inside the wrappers of torch: its names are the same in every loop, without a prefix.

    Example:
        >>> model = nn.Linear(1, 1)
        >>> bare(nn.DataParallel(model)) is model
        True
    """
    while True:
        inner = getattr(model, "_orig_mod", None)  # of torch.compile
        if isinstance(model, DataParallel | DistributedDataParallel):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def together() -> bool:
    """Whether this process is one of several."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@torch.no_grad()
def mean(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The mean of each tensor over the processes; of one process, the tensors."""
    if not together() or not tensors:
        return [*tensors]
    # One message, not one for each of a thousand tensors.
    flat = torch.cat([tensor.flatten().float() for tensor in tensors])
    dist.all_reduce(flat)
    pieces = torch.split(flat / dist.get_world_size(), [tensor.numel() for tensor in tensors])
    return [piece.view_as(tensor).to(tensor.dtype) for piece, tensor in zip(pieces, tensors, strict=True)]


def gathered(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks; tensors inside are to be on the CPU."""
    if not together():
        return [value]
    found: list[T] = [value] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def spread(value: Tensor) -> float:
    """How far a scalar differs between the processes, relative to its largest."""
    held = [torch.empty_like(value) for _ in range(dist.get_world_size())]
    dist.all_gather(held, value)
    found = torch.stack(held)
    return float((found.max() - found.min()) / found.abs().max().clamp_min(1e-30))
