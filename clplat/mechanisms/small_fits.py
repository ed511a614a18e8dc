"""Steps of gradient descent on rows that are all in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["batches", "descend"]


def batches(count: int, steps: int, draw: torch.Generator) -> Iterator[Tensor]:
    """So many batches of 64 rows of ``count``, each row once before one comes again."""
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < min(64, count):
            order = torch.randperm(count, generator=draw)
        yield order[:64]
        order = order[64:]


def descend(
    learnt: Sequence[Tensor],
    loss: Callable[[Tensor], Tensor],
    count: int,
    *,
    steps: int,
    rate: float,
    draw: torch.Generator,
    decay: float = 0.01,
) -> None:
    """Steps of AdamW on batches of rows, at a rate that falls to 0 along a cosine.

    Args:
        learnt: changed in place.
        loss: of the rows with these numbers.
        count: of all rows.
        steps: how many; rate: at first; decay: of weights.
        draw: chooses the rows.
    """
    optimizer = torch.optim.AdamW(learnt, lr=rate, eps=1e-4, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for rows in batches(count, steps, draw):
        found = loss(rows)
        optimizer.zero_grad()
        torch.autograd.backward(found)
        optimizer.step()
        schedule.step()
