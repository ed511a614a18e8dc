"""TIES: task vectors are trimmed, agree on a sign and are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms import merging
from clplat.mechanisms.merging import Weights
from clplat.mechanisms.task_vectors import TaskVectors
from clplat.mechanisms.weight_space import set_weights
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["TIES"]


class TIES(Strategy):
    """Every domain is trained from the pretrained weights; their changes are merged without interference.

    ``theta = theta_0 + weight * TIES(theta_1 - theta_0, ..., theta_n - theta_0)``: of each change the
    largest entries are kept, each weight takes the sign that has more mass, and the entries of that sign are
    averaged.

    A finished run of another strategy can be merged as well, without training (``clplat derive``): the
    changes are then those from domain to domain.

    Args:
        weight: of the merged change.
        density: share of entries that is kept of each change.

    References:
        Yadav et al. 2023, TIES-Merging: Resolving Interference When Merging Models, arXiv 2306.01708.

    Relations:
        `TaskArithmetic` is the plain sum. The vectors of all domains are kept: they grow with the stream.

    Example:
        >>> from strategies import TIES
        >>> TIES(density=0.1).density
        0.1
    """

    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.3, 2.0)] = 1.0,
        density: Annotated[float, Float(0.05, 1.0)] = 0.2,
    ) -> None:
        if not (weight >= 0 and 0 < density <= 1):
            raise ValueError(f"weight must be at least 0 and density in (0, 1], not {weight} and {density}")
        self.weight, self.density = weight, density
        self._changes = TaskVectors()

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._changes.begin(learner.model)

    def after_backward(self, learner: SupportsLearning) -> None:
        self._changes.follow(learner.model)

    @torch.no_grad()
    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._changes.end(learner.model)
        set_weights(learner.model, self._merged(self._changes.base, self._changes.vectors))

    def merge(self, points: Sequence[Weights]) -> dict[str, Tensor]:
        """Of the weights before the stream and after each of its domains."""
        vectors = [merging.task_vector(start, end) for start, end in pairwise(points)]
        return self._merged(points[0], vectors) if vectors else dict(points[0])

    def _merged(self, base: Weights, vectors: Sequence[Weights]) -> dict[str, Tensor]:
        return merging.added(base, merging.ties(vectors, self.density), self.weight)
