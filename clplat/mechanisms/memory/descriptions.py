"""What a model makes of the examples of an experience: the features and gradients that policies look at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from clplat.models.outputs import as_outputs

__all__ = ["Describes", "described", "features", "last_linear", "reading"]


class Describes(Protocol):
    """What is asked of the loop: batches and outputs of a pass over data, and the task's loss."""

    @property
    def model(self) -> nn.Module: ...

    def collate(self, examples: list[Any]) -> Any: ...

    def passes(self, data: Any, batch_size: int, *, grad: bool = False) -> Iterator[tuple[Any, Any]]: ...

    def task_loss(self, batch: Any, outputs: Any) -> Tensor: ...


def last_linear(model: nn.Module) -> nn.Linear | None:
    """The classifier of a network that ends in one: its last linear layer."""
    return next((layer for layer in reversed([*model.modules()]) if isinstance(layer, nn.Linear)), None)


@contextmanager
def reading(model: nn.Module) -> Iterator[list[Tensor]]:
    """Inside, what the last linear layer reads in each forward pass (N, D) is appended to the list."""
    seen: list[Tensor] = []
    layer = last_linear(model)
    if layer is None:
        yield seen
        return
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


def features(learner: Describes, data: Any, batch_size: int = 64) -> Tensor:
    """Unit rows (N, S, D) of examples, on the CPU.

    Of embeddings the S = 2 sides are query and target; of logits there is S = 1 side, what the network's last
    linear layer reads, or the logits where there is no such layer.
    """
    found = []
    with reading(learner.model) as seen:
        for _, outputs in learner.passes(data, batch_size):
            made = as_outputs(outputs)
            if isinstance(made, Tensor):
                sides = [seen[-1] if seen else made]
            else:
                sides = [made.query, made.candidates[: len(made.query)]]
            found.append(torch.stack([side.detach().flatten(1).float() for side in sides], dim=1).cpu())
    return normalize(torch.cat(found), dim=-1)


def _gradients(learner: Describes, data: Any, batch_size: int = 64) -> Tensor:
    """Gradients (N, D) of the task's loss in what the model puts out of each example, on the CPU."""
    found = []
    for batch, outputs in learner.passes(data, batch_size, grad=True):
        made = as_outputs(outputs)
        at = [made] if isinstance(made, Tensor) else [made.query, made.candidates]
        # The targets of frozen towers have no gradient.
        moving = [i for i, side in enumerate(at) if side.requires_grad]
        slopes = torch.autograd.grad(
            learner.task_loss(batch, outputs), [at[i] for i in moving], allow_unused=True
        )
        rows = [torch.zeros_like(side) for side in at]
        for i, slope in zip(moving, slopes, strict=True):
            rows[i] = rows[i] if slope is None else slope
        found.append(torch.cat([row[: len(at[0])].flatten(1).float() for row in rows], dim=1).cpu())
    return torch.cat(found)


def described(learner: Describes, data: Any, wants: Literal["features", "gradients"]) -> Tensor:
    """What a policy wants of examples, see `clplat.mechanisms.memory.coresets.Coreset`."""
    return (features if wants == "features" else _gradients)(learner, data)
