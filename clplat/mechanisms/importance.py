"""How much each weight matters for what was learnt: Fisher information, sensitivity of outputs, or all alike.

Importances are tensors by name, of the trained weights; anchors weigh their pull by them. What is measured
while training goes on is in `clplat.mechanisms.importance_in_training`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Generator, Tensor, nn

from clplat.mechanisms.example_gradients import (
    Passes,
    example_gradients,
    logits_of,
    spread,
    trained,
)
from clplat.mechanisms.per_example import losses_of
from clplat.models.outputs import similarities

__all__ = [
    "Importance",
    "fisher",
    "scaled",
    "sensitivity",
    "uniform",
]

#: Non-negative tensors by the names of the weights.
Importance: TypeAlias = dict[str, Tensor]


def uniform(model: nn.Module) -> Importance:
    """Every weight is as important as any other: 1."""
    return {name: torch.ones_like(p) for name, p in trained(model).items()}


def scaled(importance: Mapping[str, Tensor]) -> Importance:
    """Divided by the mean over all weights, so that one strength fits all models and sizes of gradients.

    Example:
        >>> scaled({"w": torch.tensor([1.0, 3.0]), "b": torch.tensor([2.0])})
        {'w': tensor([0.5000, 1.5000]), 'b': tensor([1.])}
    """
    total = sum(float(f.sum()) for f in importance.values())
    count = sum(f.numel() for f in importance.values())
    mean = max(total / max(count, 1), 1e-30)
    return {name: f / mean for name, f in importance.items()}


def fisher(
    learner: Passes, data: Any, batch_size: int, draw: Generator | None = None, examples: int | None = None
) -> Importance:
    """The diagonal of the Fisher information: the mean over examples of squared gradients of log p(label).

    p is the softmax over the candidates of an example's batch, or over the classes of a classifier. Every
    example takes a backward pass of its own: the square of a batch's mean gradient is another quantity.

    Args:
        learner: of a finished experience.
        data: what was trained on, ``learner.data()``.
        batch_size: examples whose candidates compete.
        draw: labels are drawn from the model itself, for the true matrix; without one they are those of the
            data, for the empirical matrix. The two agree where the model is right about its data.
        examples: of the data at most, spread evenly over it; all unless given.

    Raises:
        TypeError: a classifier's batches have no classes, and none are drawn.

    References:
        Kirkpatrick et al. 2017, arXiv 1612.00796; how the two differ: Kunstner et al. 2019, Limitations of
        the Empirical Fisher Approximation, arXiv 1905.12558.
    """

    def likelihoods(batch: Any, outputs: Any) -> Tensor:
        return losses_of(batch, outputs) if draw is None else _drawn_likelihood(batch, outputs, draw)

    return _mean_of_gradients(learner, spread(data, examples), batch_size, likelihoods, torch.square)


def sensitivity(learner: Passes, data: Any, batch_size: int) -> Importance:
    """How much a weight changes the outputs: the mean over batches of ``|d (mean_j |F(x_j)|^2) / d theta|``.

    F are the scores of a query with the candidates of its batch: unit embeddings have a squared length of one
    whatever the weights are. Of a classifier, its logits. Labels are not used.

    References:
        Aljundi et al. 2018, Memory Aware Synapses, arXiv 1711.09601.
    """

    def lengths(batch: Any, outputs: Any) -> Tensor:
        return similarities(outputs).flatten(1).square().sum(dim=1).mean()[None]

    return _mean_of_gradients(learner, data, batch_size, lengths, torch.abs)


def _mean_of_gradients(
    learner: Passes,
    data: Any,
    batch_size: int,
    values: Callable[[Any, Any], Tensor],
    measure: Callable[[Tensor], Tensor],
) -> Importance:
    """The mean measure of the gradients of all scalars (N,) that batches and their outputs have."""
    weights = trained(learner.model)
    sums, count = [torch.zeros_like(p) for p in weights.values()], 0
    for gradients in example_gradients(learner, data, batch_size, values):
        count += 1
        for total, gradient in zip(sums, gradients, strict=True):
            total += measure(gradient)
    means = learner.averaged([total / max(count, 1) for total in sums])
    return dict(zip(weights, means, strict=True))


def _drawn_likelihood(batch: Any, outputs: Any, draw: Generator) -> Tensor:
    """The log-likelihood (B,) of one candidate of each example, which the model draws."""
    logs = logits_of(batch, outputs).log_softmax(1)
    drawn = torch.multinomial(logs.detach().exp().cpu(), 1, generator=draw)
    return logs.gather(1, drawn.to(logs.device))[:, 0]
