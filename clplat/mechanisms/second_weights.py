"""A second set of weights, trained beside the model's on the same batches and on the task's loss alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from clplat.mechanisms.example_gradients import trained
from clplat.mechanisms.step_size import step_sizes
from clplat.mechanisms.teacher import moving, snapshot
from clplat.mechanisms.weight_space import grown, padded

__all__ = ["SecondWeights"]


class Learns(Protocol):
    """What training on a batch asks of the loop."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def optimizer(self) -> Optimizer: ...

    def predict(self, batch: Any) -> Any: ...

    def task_loss(self, batch: Any, outputs: Any) -> Tensor: ...

    def averaged(self, tensors: Sequence[Tensor]) -> list[Tensor]: ...


class SecondWeights:
    """Weights that see what the model sees and that no penalty holds.

    Every step costs a pass forward and backward. It is as long as one of the model's own optimizer would be,
    `clplat.mechanisms.step_size.step_sizes`, along a running mean of the gradients.

    Args:
        momentum: of that mean.

    Example:
        >>> second, layer = SecondWeights(), nn.Linear(1, 1)
        >>> second.begin(layer)
        >>> sorted(second.tensors)
        ['bias', 'weight']
    """

    def __init__(self, momentum: float = 0.9) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), not {momentum}")
        self.momentum = momentum
        self.tensors: dict[str, Tensor] = {}
        self._mean: dict[str, Tensor] = {}

    def begin(self, model: nn.Module) -> None:
        """Start from the model as it is."""
        self.tensors, self._mean = snapshot(model, statistics=True), {}

    def step(self, learner: Learns, batch: Any) -> dict[str, Tensor]:
        """Train on a batch; the gradients are returned by name. The model is as it was."""
        weights = trained(learner.model)
        places = moving(learner.model, statistics=True)
        for name in places.keys() - self.tensors.keys():  # what has become trainable since
            self.tensors[name] = places[name].detach().clone()
        self.tensors = grown(self.tensors, learner.model)
        own = {name: places[name].data for name in self.tensors if name in places}
        try:
            for name in own:
                places[name].data = self.tensors[name]
            with torch.enable_grad():
                loss = learner.task_loss(batch, learner.predict(batch))
                slopes = torch.autograd.grad(loss, [*weights.values()], materialize_grads=True)
        finally:
            for name, data in own.items():
                places[name].data = data
        gradients = dict(zip(weights, learner.averaged(slopes), strict=True))
        self._move(learner.optimizer, weights, gradients)
        return gradients

    @torch.no_grad()
    def _move(
        self, optimizer: Optimizer, weights: Mapping[str, nn.Parameter], gradients: Mapping[str, Tensor]
    ) -> None:
        sizes = step_sizes(optimizer)
        for name, gradient in gradients.items():
            if (size := sizes.get(weights[name])) is None:
                continue
            earlier = padded(self._mean.get(name, torch.zeros_like(gradient)), gradient.shape)
            self._mean[name] = torch.lerp(gradient, earlier, self.momentum)
            self.tensors[name] = self.tensors[name] - size * self._mean[name]

    def state_dict(self) -> dict[str, Any]:
        return {"tensors": self.tensors, "mean": self._mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.tensors, self._mean = state["tensors"], state["mean"]
