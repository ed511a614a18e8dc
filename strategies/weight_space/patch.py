"""Patch: interpolate the weights after each domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.mechanisms.merging import Weights, task_vector
from clplat.mechanisms.weight_space import interpolate, point_of
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Patch"]


class Patch(Strategy):
    """Weight interpolation after each experience.

    ``theta <- (1 - alpha) theta_anchor + alpha theta_trained``

    Training is plain fine-tuning; afterwards the model is pulled back part of the way towards the weights
    from before this domain (``previous``) or before the stream (``initial``). Under an adapter these are the
    weights that the layers compute with, base and adapter together; buffers that move belong to them.

    Args:
        alpha: 1 is naive fine-tuning, 0 is no update.
        anchor: ``"previous"`` or ``"initial"``.

    References:
        Ilharco et al. 2022 (PAINT), arXiv 2208.05592; Wortsman et al. 2022 (WiSE-FT), arXiv 2109.01903.

    Relations:
        `EWC` weights the pull by importance and applies it during training.

    Example:
        >>> from strategies import Patch
        >>> Patch(alpha=0.5).alpha
        0.5
    """

    stores = "weights"
    state = ("_start",)

    def __init__(
        self,
        alpha: Annotated[float, Float(0.1, 0.9)] = 0.5,
        anchor: Annotated[Literal["previous", "initial"], Choice("previous", "initial")] = "previous",
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha must be between 0 and 1, not {alpha}")
        self.alpha, self.anchor = alpha, anchor
        self._start: dict[str, Tensor] = {}

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not self._start or self.anchor == "previous":
            self._start = point_of(learner.model)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        interpolate(learner.model, self._start, self.alpha)

    def merge(self, points: Sequence[Weights]) -> dict[str, Tensor]:
        """Of the weights before the stream and after each of its domains."""
        start, end = points[0 if self.anchor == "initial" else max(0, len(points) - 2)], points[-1]
        return {name: torch.lerp(start[name], end[name], self.alpha) for name in task_vector(start, end)}
