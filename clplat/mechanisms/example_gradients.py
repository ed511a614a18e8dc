"""Gradients of single examples, whatever a model puts out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from clplat.models.names import named_parameters
from clplat.models.outputs import as_outputs

__all__ = ["Passes", "example_gradients", "logits_of", "spread", "trained"]


class Passes(Protocol):
    """What a measurement after training asks of the loop: outputs of a pass over data, with a graph."""

    @property
    def model(self) -> nn.Module: ...

    def passes(self, data: Any, batch_size: int, *, grad: bool = False) -> Iterator[tuple[Any, Any]]: ...

    def averaged(self, tensors: Sequence[Tensor]) -> list[Tensor]: ...


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that are trained now, by name."""
    return {name: p for name, p in named_parameters(model) if p.requires_grad}


def spread(data: Any, examples: int | None) -> Any:
    """So many examples of the data at most, spread evenly over it.

    Example:
        >>> spread("abcdefgh", 3)
        ['a', 'c', 'f']
    """
    if examples is None or examples >= len(data):
        return data
    return [data[i * len(data) // examples] for i in range(examples)]


def example_gradients(
    learner: Passes, data: Any, batch_size: int, values: Callable[[Any, Any], Tensor]
) -> Iterator[list[Tensor]]:
    """The gradients of the trained weights for every scalar (N,) that batches and their outputs have.

    Each takes a backward pass of its own. A weight that a scalar does not depend on has zeros.
    """
    weights = [*trained(learner.model).values()]
    for batch, outputs in learner.passes(data, batch_size, grad=True) if weights else ():
        for scalar in values(batch, outputs):
            yield [*torch.autograd.grad(scalar, weights, retain_graph=True, materialize_grads=True)]


def logits_of(batch: Any, outputs: Any) -> Tensor:
    """What competes for each example (B, C): a classifier's logits, or scaled scores of the candidates.

    Candidates that do not count for an example have -inf.
    """
    made = as_outputs(outputs)
    if isinstance(made, Tensor):
        return made
    logits, valid = made.scores(scale=made.scale), getattr(batch, "valid", None)
    return logits if valid is None else logits.masked_fill(~valid, -torch.inf)
