"""InfLoRA: the LoRA of a domain acts where the domain's inputs are and those of earlier domains are not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.mechanisms.example_gradients import spread
from clplat.mechanisms.input_spaces import InputSpaces
from clplat.mechanisms.layer_inputs import covariances_at
from clplat.mechanisms.low_rank import LowRankSum
from clplat.mechanisms.projection import free_directions
from clplat.parts.adapters._growing import Growing, PerDomain, counted
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["InfLoRA"]

_UNSCALED = Growing(alpha=8.0, targets="attention")


class InfLoRA(Strategy):
    """Interference-free LoRA: A is fixed before a domain is trained, and only B is; all domains are summed.

    ``A = U_r^T / sqrt(3)``, the leading left singular vectors of ``(I - M M^T) C``, for the sum C of outer
    products of what the layer gets in the domain and an orthonormal basis M of what it got in earlier ones

    A change of the layer's output is ``B A x``: for an input within M it is none, whatever B becomes. After a
    domain M gains the fewest directions with which it holds a share ``threshold`` of the squares of C.

    Args:
        threshold: share that is held after the first domain; more protects more and leaves less room.
        growth: by which the threshold is higher at each further domain, at most 1.
        lora: the LoRA of a domain; its magnitude is ``alpha / r``.
        examples: of a domain that inputs are taken from, spread evenly over it.
        batch_size: of these two passes.

    References:
        Liang and Li, "InfLoRA: Interference-Free Low-Rank Adaptation for Continual Learning", CVPR 2024,
        arXiv 2404.00228.

    Needs:
        A `ComposedRetriever` without another adapter, a learner with ``predict`` and ``data``. A composer
        with weights is trained on, which nothing protects.

    Relations:
        `GPM` projects steps of any weights out of the same subspace; `OrthogonalLoRA` learns A, and is
        orthogonal to what earlier ones became instead of what their domains showed.

    Example:
        >>> InfLoRA(threshold=0.9).threshold
        0.9
    """

    any_module = False
    plain = "lora"
    brings = ("adapter", "prompt")
    stores = "statistics"
    reads_data = True

    def __init__(
        self,
        threshold: Annotated[float, Float(0.5, 0.999)] = 0.95,
        growth: float = 0.005,
        lora: Growing = _UNSCALED,
        examples: Annotated[int, Int(32, 512, log=True)] = 128,
        batch_size: int = 64,
    ) -> None:
        if not (examples >= 1 and batch_size >= 1):
            raise ValueError(f"examples and batch_size must be at least 1, not {examples} and {batch_size}")
        self.threshold, self.growth, self.lora = threshold, growth, lora
        self.examples, self.batch_size = examples, batch_size
        self.spaces = InputSpaces(threshold, growth)
        self.changes = PerDomain(lora, "inflora")

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        layers = self.changes.grow(learner.model)
        _fix_inputs(layers)
        for name, inputs in self._inputs(learner, experience.dataset).items():
            found = free_directions(inputs, self.spaces.bases.get(name), self.lora.r)
            down = layers[name].newest().down
            with torch.no_grad():
                down.zero_()
                down[: found.shape[1]].copy_(found.T / math.sqrt(3))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(counted(state))

    def rebuild(self, learner: SupportsLearning) -> None:
        for layers in self.changes.again(learner.model):
            _fix_inputs(layers)

    def _inputs(self, learner: SupportsLearning, data: Any) -> dict[str, Tensor]:
        layers = self.changes.layers(learner.model)
        return covariances_at(learner, layers, spread(data, self.examples), self.batch_size)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        inputs = self._inputs(learner, learner.data())
        self.spaces.add({name: covariance @ covariance for name, covariance in inputs.items()})


def _fix_inputs(layers: Mapping[str, LowRankSum]) -> None:
    """A of the newest changes is not trained."""
    for layer in layers.values():
        layer.newest().down.requires_grad_(False)
