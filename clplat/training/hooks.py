"""What a training loop calls: the hooks of a strategy, and what it may ask of the loop in them."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

__all__ = ["Hooks", "SupportsLearning"]


class SupportsLearning(Protocol):
    """What a strategy may ask of the loop that it runs in."""

    # Read-only: a strategy changes what is inside the model, never which model it is.
    @property
    def model(self) -> nn.Module: ...

    @property
    def optimizer(self) -> Optimizer: ...

    @property
    def step(self) -> int: ...

    def predict(self, batch: Any) -> Any: ...

    def task_loss(self, batch: Any, outputs: Any) -> Tensor: ...

    def collate(self, examples: list[Any]) -> Any: ...


class Hooks:
    """What a loop calls of a `clplat.training.strategy.Strategy`, in this order; every hook does nothing."""

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        """Before the optimizer is built: grow, freeze, snapshot a teacher."""

    def training_set(self, experience: Any) -> Any:
        """The data set that this experience trains on; by default its own."""
        return experience.dataset

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """Named scalar terms, already weighted, that are added to the task loss of this step."""
        return {}

    def after_backward(self, learner: SupportsLearning) -> None:
        """Gradients are there and not yet used: project or record them."""

    def after_step(self, learner: SupportsLearning) -> None:
        """The optimizer has stepped: average or clip weights."""

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        """Consolidate, merge, store exemplars."""
