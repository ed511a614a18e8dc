"""Weight average: deploy the running mean of the weights of an experience."""

from __future__ import annotations

import math
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from clplat.config.space import Float, Int
from clplat.mechanisms.teacher import moving, snapshot
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["WeightAverage"]


class WeightAverage(Strategy):
    """The mean of the weights at the start of an experience and after every few steps takes their place.

    ``mean <- (n mean + theta) / (n + 1)`` after every ``every`` steps and at the end, beginning with the
    weights before the experience and n = 1. Training itself goes on from theta; when the experience ends, the
    model becomes the mean, and the next one starts from there. With a ``decay`` below 1 it is an exponential
    moving average: a new model's share is never less than ``1 - decay``. With a ``peak`` models count by a
    Gaussian of where in the experience they were made, ``exp(-(x - peak)^2 / (2 spread^2))``, x from 0 to 1.

    With a ``beta`` the model after t of T steps counts ``(x (1 - x))^(beta - 1)``, x = (t + 1/2) / (T + 1).

    Args:
        every: steps between two models that the mean takes.
        decay: of the mean, at most; 1 is the plain mean.
        peak: where in the experience the models count most (PromptSRC: 0.75); None: all alike.
        spread: of the Gaussian.
        beta: of the beta moving average (CLIPood: 0.5); 1: all alike, and so in loops of unknown length.

    Numbers:
        ``models``: how many the mean is of.

    References:
        Zheng et al. 2023 (ZSCL's weight ensemble), arXiv 2303.06628; Izmailov et al. 2018 (SWA), arXiv
        1803.05407; exponential, over all training: Dong et al. 2022 (FT-CLIP), arXiv 2212.06138; Gaussian:
        Khattak et al. 2023 (PromptSRC), arXiv 2307.06948; beta: Shu et al. 2023 (CLIPood), arXiv 2302.00864.

    Relations:
        `Patch` goes back a share of the way in one step, after training.

    Example:
        >>> from strategies import WeightAverage
        >>> WeightAverage(every=10).every
        10
    """

    stores = "weights"
    state = ("_mean", "_models", "_steps", "_weights")

    def __init__(
        self,
        every: Annotated[int, Int(1, 100, log=True)] = 10,
        decay: Annotated[float, Float(0.5, 1.0)] = 1.0,
        peak: float | None = None,
        spread: float = 0.05,
        beta: float = 1.0,
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, not {every}")
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be between 0 and 1, not {decay}")
        if not spread > 0 or (peak is not None and decay < 1):
            raise ValueError("spread must be above 0, and a peak and a decay do not go together")
        if not 0 < beta < float("inf") or (beta != 1 and (decay != 1 or peak is not None)):
            raise ValueError(f"beta must be above 0, and 1 beside a decay or a peak, not {beta}")
        self.every, self.decay, self.peak, self.spread = every, decay, peak, spread
        self.beta = beta
        self._weights = 0.0
        self._mean: dict[str, Tensor] = {}
        self._models = self._steps = 0

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._mean = snapshot(learner.model, statistics=True)
        self._models, self._steps = 1, 0
        self._weights = self._weight(0.0, learner.progress.total)

    def _weight(self, done: float, total: int) -> float:
        """How much a model counts that was made after this share of the experience's steps."""
        if self.beta != 1 and total:
            x = (done * total + 0.5) / (total + 1)
            return float((x * (1.0 - x)) ** (self.beta - 1.0))
        if self.peak is None:
            return 1.0
        return math.exp(-((done - self.peak) ** 2) / (2 * self.spread**2)) + 1e-30

    @torch.no_grad()
    def _take(self, model: nn.Module, done: float, total: int) -> None:
        self._models += 1
        weight = self._weight(done, total)
        self._weights += weight
        share = max(weight / self._weights, 1 - self.decay)
        for name, tensor in moving(model, statistics=True).items():
            mean = self._mean.setdefault(name, tensor.detach().clone())
            if mean.is_floating_point() and mean.shape == tensor.shape:
                mean.lerp_(tensor, share)
            else:  # a counter, or a head that grew
                self._mean[name] = tensor.detach().clone()

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self._steps += 1
        if self._steps % self.every == 0:
            self._take(learner.model, learner.progress.fraction, learner.progress.total)

    @torch.no_grad()
    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if self._steps % self.every:  # also an experience of fewer steps is learnt from
            self._take(learner.model, 1.0, learner.progress.total)
        for name, tensor in moving(learner.model, statistics=True).items():
            tensor.copy_(self._mean[name])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict({"weights": float(state.get("models", 1)), **state})  # of older runs

    def numbers(self) -> dict[str, float]:
        return {"models": self._models}
