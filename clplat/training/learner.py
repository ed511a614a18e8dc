"""What a strategy may ask of the loop that it runs in, and the learner of a plain torch loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from clplat.data.columns import Column
from clplat.data.inputs import Images, Texts
from clplat.data.items import Item, Picture, as_item
from clplat.parts.references._base import Reference
from clplat.progress import Progress
from clplat.randomness import seeded
from clplat.training.order import Order
from clplat.training.processes import bare, gathered, mean

__all__ = ["AnyLearner", "Learner"]

T = TypeVar("T")
_ALONE = "this strategy embeds pictures or texts alone: it needs {}"


class AnyLearner:
    """What every learner answers with what its loop has: a model, batches, and where training stands."""

    model: nn.Module
    progress: Progress
    #: The model knew something before the stream, which a previous model teaches in the first experience.
    pretrained: bool
    #: Data beside the stream, where there is some.
    reference: Reference | None

    def predict(self, batch: Any) -> Any:
        raise NotImplementedError

    def collate(self, examples: list[Any]) -> Any:
        raise NotImplementedError

    def _collator(self) -> Any:
        """What joins examples to batches, with the pictures and the tokenizer that it uses."""
        raise NotImplementedError

    def begin(self, experience: int, *, epochs: int = 1, total: int = 0) -> None:
        """An experience begins: of so many passes over its data, of so many steps in all, where known."""
        self.progress = Progress(experience, epochs=epochs, step=self.progress.step, total=total)

    def stepped(self) -> None:
        """The optimizer has made a step."""
        self.progress = self.progress.stepped()

    def averaged(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The mean of each over the processes that train this model together; of one alone, the tensors."""
        return [*tensors] if getattr(self, "alone", False) else mean(tensors)

    def gathered(self, value: T) -> list[T]:
        """What each of the processes that train this model together has, tensors on the CPU."""
        return [value] if getattr(self, "alone", False) else gathered(value)

    def items(self, items: Sequence[Item | Picture | str]) -> Tensor:
        """Embeddings (N, D) of items as a gallery stores them, with gradients where gradients are on.

        Args:
            items: pictures, texts, or `Item`s with either or both.

        Raises:
            TypeError: the model or the loop cannot embed items by themselves.
        """
        encode = getattr(self.model, "encode_items", None)
        if encode is None:
            raise TypeError(_ALONE.format(f"a model with encode_items, not {type(self.model).__name__}"))
        found: Tensor = encode(*self.inputs(items))
        return found

    def inputs(self, items: Sequence[Item | Picture | str]) -> tuple[Column[Images], Column[Texts]]:
        """Pictures and texts of items as the loop reads them, for towers to be run on; nothing is decoded.

        Raises:
            TypeError: the loop cannot read items by themselves.
        """
        from clplat.data.collate import Collate, item_columns  # decodes pictures, which few loops do

        collate = self._collator()
        if not isinstance(collate, Collate):
            raise TypeError(_ALONE.format(f"clplat's Collate in the loop, not {type(collate).__name__}"))
        return item_columns([*map(as_item, items)], collate.pixels.images, collate.tokenize)

    def passes(self, data: Any, batch_size: int, *, grad: bool = False) -> Iterator[tuple[Any, Any]]:
        """Batches and outputs of a pass over data, in their order, in evaluation mode.

        Args:
            data: a sequence of examples, such as `data`.
            batch_size: examples per batch.
            grad: with a graph to differentiate.

        The modes of all modules are as before when the pass is over or abandoned.
        """
        with _evaluating(self.model):
            for start in range(0, len(data), batch_size):
                batch = self.collate([data[i] for i in range(start, min(start + batch_size, len(data)))])
                with seeded(0, "passes", start), torch.set_grad_enabled(grad):
                    outputs = self.predict(batch)
                yield batch, outputs

    def embed(self, items: Sequence[Item | Picture | str]) -> Tensor:
        """As `items`, of any number, in evaluation mode and without gradients: to mine and to describe."""
        with _evaluating(self.model), torch.no_grad():
            return torch.cat([self.items(items[i : i + 256]) for i in range(0, len(items), 256)])


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Inside, the model is in evaluation mode; afterwards every module is as before."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@dataclass
class Learner(AnyLearner):
    """The learner of a plain torch loop.

    Args:
        model: any module; what torch wraps around it (compile, DistributedDataParallel) is taken off, so that
            names are those of the module itself.
        optimizer: the one that steps it; may come later where the loop builds it. Its steps are watched and
            counted, see `clplat.training.order`.
        predict_fn: ``batch -> outputs``; needed by strategies with a teacher or a memory.
        loss_fn: ``(batch, outputs) -> scalar``; needed by strategies with a memory.
        collate_fn: joins examples of the data set to a batch; torch's default unless given.
        progress: where training stands; experiences and steps are counted, `begin` says more.
        dataset: what the loop trains on in this experience; needed by strategies that look at it.
        reference: data beside the stream.
        pretrained: whether the model knows something before the stream, to which the first experience is held
            as well by strategies with a previous model (`Distill`).
        alone: this process trains a model of its own, though it is one of several of torch.distributed.
    """

    model: nn.Module
    optimizer: Optimizer = None  # type: ignore[assignment]
    predict_fn: Callable[[Any], Any] | None = None
    loss_fn: Callable[[Any, Any], Tensor] | None = None
    collate_fn: Callable[[list[Any]], Any] | None = None
    progress: Progress = field(default_factory=Progress)
    dataset: Any = None
    reference: Reference | None = None
    pretrained: bool = False
    alone: bool = False

    def __post_init__(self) -> None:
        self.model = bare(self.model)
        self.order = Order(self)
        self._begun = self._ended = False
        self._told = 0

    def begin(self, experience: int, *, epochs: int = 1, total: int = 0) -> None:
        super().begin(experience, epochs=epochs, total=total)
        self._begun = True

    def begins(self, experience: Any = None, *_: Any) -> None:
        """An experience begins; its number is counted where neither the loop nor the experience says it."""
        if not self._begun:
            number = getattr(experience, "current_experience", experience)
            counted = self.progress.experience + self._ended
            self.begin(number if isinstance(number, int) else counted)

    def ends(self) -> None:
        """The experience is over."""
        self._begun, self._ended = False, True

    def stepped(self) -> None:
        """The optimizer has made a step: for one whose steps are not seen; nothing is counted twice."""
        if self._told == self.order.steps:
            super().stepped()
        self._told = self.order.steps

    def predict(self, batch: Any) -> Any:
        if self.predict_fn is None:
            raise TypeError("this strategy needs outputs: give Learner a predict_fn(batch)")
        return self.predict_fn(batch)

    def task_loss(self, batch: Any, outputs: Any) -> Tensor:
        if self.loss_fn is None:
            raise TypeError("this strategy needs the task's loss: give Learner a loss_fn(batch, outputs)")
        return self.loss_fn(batch, outputs)

    def collate(self, examples: list[Any]) -> Any:
        from torch.utils.data import default_collate

        return (self.collate_fn or default_collate)(examples)

    def _collator(self) -> Any:
        return self.collate_fn

    def data(self) -> Any:
        if self.dataset is None:
            raise TypeError("this strategy looks at its data: set Learner.dataset to what the loop trains on")
        return self.dataset

    def at_epoch(self, epoch: int) -> None:
        """A pass over the data begins."""
        self.progress = replace(self.progress, epoch=epoch)
