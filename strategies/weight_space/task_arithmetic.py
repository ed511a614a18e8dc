"""Task arithmetic: the model is the pretrained one plus a sum of task vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.merging import Weights, added, task_vector
from clplat.mechanisms.task_vectors import TaskVectors
from clplat.mechanisms.weight_space import set_weights
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["TaskArithmetic"]


class TaskArithmetic(Strategy):
    """Every domain is trained from the pretrained weights, and the model is their sum with all changes.

    ``theta = theta_0 + weight * sum_k (theta_k - theta_0)``

    A finished run of another strategy can be merged as well, without training (``clplat derive``): its
    domains were trained one after the other, so that their changes add up to the whole way from ``theta_0``.

    Args:
        weight: of the sum. 0 is the zero-shot model; after one domain 1 is the trained one.

    References:
        Ilharco et al. 2023, Editing Models with Task Arithmetic, arXiv 2212.04089.

    Relations:
        `TIES` resolves what the vectors disagree on; `Patch` goes back towards the start after each domain,
        and the next one goes on from there.

    Example:
        >>> from strategies import TaskArithmetic
        >>> TaskArithmetic(weight=0.3).weight
        0.3
    """

    stores = "weights"

    def __init__(self, weight: Annotated[float, Float(0.1, 1.0)] = 0.4) -> None:
        if not weight >= 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.weight = weight
        self._changes = TaskVectors(summed=True)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._changes.begin(learner.model)

    def after_backward(self, learner: SupportsLearning) -> None:
        self._changes.follow(learner.model)

    @torch.no_grad()
    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._changes.end(learner.model)
        set_weights(learner.model, added(self._changes.base, self._changes.vectors[0], self.weight))

    def merge(self, points: Sequence[Weights]) -> dict[str, Tensor]:
        """Of the weights before the stream and after each of its domains."""
        first, last = points[0], points[-1]
        return {name: torch.lerp(first[name], last[name], self.weight) for name in task_vector(first, last)}
