"""What a training loop calls: the hooks of a strategy, and what it may ask of the loop in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from clplat.data.columns import Column
from clplat.data.inputs import Images, Texts
from clplat.data.items import Item, Picture
from clplat.mechanisms.parameter_groups import Group
from clplat.parts.references._base import Reference
from clplat.progress import Progress
from clplat.training.phases import Phase

__all__ = ["Hooks", "SupportsLearning"]

T = TypeVar("T")


class SupportsLearning(Protocol):
    """What a strategy may ask of the loop that it runs in; see `clplat.training.learner.AnyLearner`."""

    # Read-only: a strategy changes what is inside the model, never which model it is.
    @property
    def model(self) -> nn.Module: ...

    @property
    def optimizer(self) -> Optimizer: ...

    #: Where training stands.
    progress: Progress

    @property
    def pretrained(self) -> bool:
        """Whether the model knew something before the stream."""

    @property
    def reference(self) -> Reference | None:
        """Data beside the stream, if there is some."""

    def predict(self, batch: Any) -> Any:
        """The model's outputs of a batch."""

    def task_loss(self, batch: Any, outputs: Any) -> Tensor:
        """What the model is trained on for a batch, without the terms of strategies."""

    def collate(self, examples: list[Any]) -> Any:
        """Join examples to a batch."""

    def data(self) -> Any:
        """What this experience trains on, as `Hooks.training_set` chose it: a sequence of examples."""

    def passes(self, data: Any, batch_size: int, *, grad: bool = False) -> Iterator[tuple[Any, Any]]:
        """Batches and outputs of a pass over data, in evaluation mode."""

    def averaged(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The mean of each over the processes that train this model together."""

    def gathered(self, value: T) -> list[T]:
        """The values of all processes that train this model together; tensors inside are on the CPU."""

    def embed(self, items: Sequence[Item | Picture | str]) -> Tensor:
        """As `items`, of any number, in evaluation mode and without gradients."""

    def inputs(self, items: Sequence[Item | Picture | str]) -> tuple[Column[Images], Column[Texts]]:
        """Pictures and texts of items as the loop reads them, for towers to be run on."""

    def items(self, items: Sequence[Item | Picture | str]) -> Tensor:
        """Embeddings (N, D) of pictures, of texts, or of items with both, as a gallery stores them."""


class Hooks:
    """What a loop calls of a `clplat.training.strategy.Strategy`, in this order; every hook does nothing."""

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        """Before the optimizer is built: grow, freeze, snapshot a teacher."""

    def training_set(self, experience: Any) -> Any:
        """The data set that this experience trains on; by default its own."""
        return experience.dataset

    def phases(self, experience: Any) -> Sequence[Phase]:
        """What is trained, how long and how fast, one after the other; by default one phase of all."""
        return [Phase()]

    def groups(self, names: Sequence[str]) -> Sequence[Group]:
        """Trained tensors with a learning rate or weight decay of their own, out of all by name."""
        return []

    def before_epoch(self, learner: SupportsLearning) -> None:
        """A pass over the data begins: draw or mine what it needs. Not called when resumed inside one."""

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        """Named scalar terms, already weighted, that are added to the task loss of this step."""
        return {}

    def after_backward(self, learner: SupportsLearning) -> None:
        """Gradients are there and not yet used: project or record them."""

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        """The optimizer has stepped: average or clip weights, store what the model put out for the batch.

        Where a step has several micro-batches these are all of them (`clplat.training.micro_batches.joined`).
        """

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        """Consolidate, merge, store exemplars."""
