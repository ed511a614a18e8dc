"""Weight average: deploy the running mean of the weights of an experience."""

from __future__ import annotations

from typing import Annotated, Any

import torch

from clplat.config.space import Int
from clplat.mechanisms.teacher import Teacher
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["WeightAverage"]


class WeightAverage(Strategy):
    """The mean of the weights at the start of an experience and after every few steps takes their place.

    ``mean <- (n mean + theta) / (n + 1)`` after every ``every`` steps, beginning with the weights before the
    experience and n = 1. Training itself goes on from theta; when the experience ends, the model becomes the
    mean, and the next one starts from there.

    Args:
        every: steps between two models that the mean takes.

    References:
        Zheng et al. 2023 (ZSCL's weight ensemble), arXiv 2303.06628; Izmailov et al. 2018 (SWA), arXiv
        1803.05407.

    Relations:
        `Patch` goes back a share of the way in one step, after training.

    Example:
        >>> from strategies import WeightAverage
        >>> WeightAverage(every=10).every
        10
    """

    stores = "weights"

    def __init__(self, every: Annotated[int, Int(1, 100, log=True)] = 10) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, not {every}")
        self.every = every
        self._mean = Teacher(which="average", every=every)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._mean = Teacher(which="average", every=self.every)
        self._mean.update(learner.model)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self._mean.follow(learner.model)

    @torch.no_grad()
    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        held = dict(learner.model.named_parameters()) | dict(learner.model.named_buffers())
        for name, tensor in (self._mean.tensors or {}).items():
            held[name].copy_(tensor)
