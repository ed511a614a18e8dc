"""Merge: every domain is trained from the pretrained weights, and one rule makes a model of all changes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.errors import UserError
from clplat.mechanisms import merging
from clplat.mechanisms.importance import fisher
from clplat.mechanisms.merging import Weights
from clplat.mechanisms.task_vectors import TaskVectors
from clplat.mechanisms.weight_space import set_weights, weights_of
from clplat.randomness import generator
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Merge"]


class Merge(Strategy):
    """The pretrained weights, and what one rule makes of the changes of all domains.

    ``theta = theta_0 + weight * rule(v_1, ..., v_n)``, ``v_k = drop(theta_k - theta_0)``

    ============== ===================================================================================
    rule           what it makes of the changes
    ============== ===================================================================================
    ``mean``       their mean: a soup of the domains' models
    ``sum``        their sum
    ``fisher``     their mean, weighted by the Fisher information of each weight in each domain
    ``isotropic``  their sum, with all singular values of each matrix at their mean
    ============== ===================================================================================

    A finished run of another strategy can be merged as well, without training (``clplat derive``): ``mean``
    is then that of its versions, ``sum`` and ``isotropic`` are of the changes from domain to domain.

    Args:
        rule: see the table.
        weight: of what the rule makes.
        drop: share of entries of each change that are set to zero by chance, the others scaled up (DARE).
        examples: of a domain that the Fisher matrix is measured on, example by example.
        batch_size: of that measurement.
        seed: of what is dropped; by default the experiment's.

    References:
        Wortsman et al. 2022, Model soups, arXiv 2203.05482; Yu et al. 2024 (DARE), arXiv 2311.03099; Matena &
        Raffel 2022, Merging Models with Fisher-Weighted Averaging, arXiv 2111.09832; Marczak et al. 2025,
        Isotropic Model Merging, arXiv 2502.04959.

    Relations:
        `TaskArithmetic` is ``sum`` and keeps one sum in place of all changes; `TIES` trims, and elects signs;
        `Patch` goes back towards the start after each domain, and the next one goes on from there.

    Example:
        >>> from strategies import Merge
        >>> Merge(rule="sum", weight=0.4, drop=0.9).drop
        0.9
    """

    stores = "weights"
    state = ("_fishers",)

    def __init__(
        self,
        rule: Annotated[
            Literal["mean", "sum", "fisher", "isotropic"], Choice("mean", "sum", "fisher", "isotropic")
        ] = "mean",
        weight: Annotated[float, Float(0.1, 4.0)] = 1.0,
        drop: Annotated[float, Float(0.0, 0.95)] = 0.0,
        examples: int = 256,
        batch_size: int = 64,
        seed: int | None = None,
    ) -> None:
        if not (weight >= 0 and 0 <= drop < 1 and examples >= 1 and batch_size >= 2):
            raise ValueError(
                "weight must be at least 0, drop in [0, 1), examples at least 1 and batch_size at least 2, "
                f"not {weight}, {drop}, {examples} and {batch_size}"
            )
        self.rule, self.weight, self.drop = rule, weight, drop
        self.examples, self.batch_size, self.seed = examples, batch_size, seed
        self._changes = TaskVectors()
        self._fishers: list[dict[str, Tensor]] = []
        # What the class says of the default.
        vars(self)["reads_data"] = rule == "fisher"

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._changes.begin(learner.model)

    def after_backward(self, learner: SupportsLearning) -> None:
        self._changes.follow(learner.model)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if self.rule == "fisher":
            self._fishers.append(fisher(learner, learner.data(), self.batch_size, examples=self.examples))
        with torch.no_grad():
            change = merging.task_vector(self._changes.base, weights_of(learner.model))
            self._changes.end(learner.model, self._dropped(change, len(self._changes.vectors)))
            set_weights(learner.model, self._merged(self._changes.base, self._changes.vectors))

    def merge(self, points: Sequence[Weights]) -> dict[str, Tensor]:
        """Of the weights before the stream and after each of its domains.

        Raises:
            UserError: the rule needs what is measured in training.
        """
        if self.rule == "fisher":
            raise UserError(
                "merge with the rule 'fisher' measures in training: a finished run has no matrices"
            )
        steps = [(points[0], end) for end in points[1:]] if self.rule == "mean" else [*pairwise(points)]
        vectors = [self._dropped(merging.task_vector(*step), k) for k, step in enumerate(steps)]
        return self._merged(points[0], vectors) if vectors else dict(points[0])

    def _dropped(self, change: Weights, domain: int) -> dict[str, Tensor]:
        return merging.dropped(change, self.drop, generator(self.seed or 0, "drop", domain))

    def _merged(self, base: Weights, vectors: Sequence[Weights]) -> dict[str, Tensor]:
        if self.rule == "fisher":
            made = merging.weighted_mean(vectors, self._fishers)
        else:
            made = {"mean": merging.mean, "sum": merging.total, "isotropic": merging.isotropic}[self.rule](
                vectors
            )
        return merging.added(base, made, self.weight)
