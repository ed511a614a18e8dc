"""Patch: interpolate the weights after each domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.mechanisms.merging import Weights, arc, task_vector
from clplat.mechanisms.parameter_groups import relative_depths
from clplat.mechanisms.weight_space import interpolate, leading, point_of, set_weights, weights_of
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
        first: alpha of what comes before the blocks of a tower; it goes to ``alpha`` block by block. The same
            for all unless given.
        path: between two weights, tensor by tensor: a line, or an arc (slerp), which keeps their length.

    References:
        Ilharco et al. 2022 (PAINT), arXiv 2208.05592; Wortsman et al. 2022 (WiSE-FT), arXiv 2109.01903; of
        arcs: Shoemake 1985, Animating Rotation with Quaternion Curves.

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
        first: float | None = None,
        path: Annotated[Literal["line", "arc"], Choice("line", "arc")] = "line",
    ) -> None:
        if not (0 <= alpha <= 1 and 0 <= (alpha if first is None else first) <= 1):
            raise ValueError(f"alpha and first must be between 0 and 1, not {alpha} and {first}")
        self.alpha, self.anchor, self.first, self.path = alpha, anchor, first, path
        self._start: dict[str, Tensor] = {}

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not self._start or self.anchor == "previous":
            self._start = point_of(learner.model)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if self.path == "line" and self.first is None:
            interpolate(learner.model, self._start, self.alpha)
            return
        now = weights_of(learner.model)
        start = {n: t for n, t in self._start.items() if n in now and t.is_floating_point()}
        set_weights(learner.model, self._between(start, {n: leading(now[n], t) for n, t in start.items()}))

    def merge(self, points: Sequence[Weights]) -> dict[str, Tensor]:
        """Of the weights before the stream and after each of its domains."""
        start, end = points[0 if self.anchor == "initial" else max(0, len(points) - 2)], points[-1]
        return self._between(start, end)

    def _between(self, start: Weights, end: Weights) -> dict[str, Tensor]:
        first = self.alpha if self.first is None else self.first
        along = arc if self.path == "arc" else torch.lerp
        return {
            name: along(start[name], end[name], first + depth * (self.alpha - first))
            for name, depth in relative_depths([*task_vector(start, end)]).items()
        }
