"""An experience in a loop that is not ours: the hooks of a strategy run where the loop's optimizer steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clplat.training.hooks import Hooks
from clplat.training.learner import Learner
from clplat.training.order import chooses_data
from clplat.training.phases import Phase
from clplat.training.watch import Watch

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Experience", "Running"]


@dataclass
class Experience:
    """What hooks are told of an experience: its data, its number, and the stream so far, as Avalanche's."""

    dataset: Any
    current_experience: int
    origin_stream: list[Experience] = field(default_factory=list, repr=False)


class Running:
    """What `Strategy.experience` gives inside ``with``.

    Attributes:
        dataset: what this experience trains on: the one given, or what the strategy makes of it.
        terms: the strategy's terms of the last batch, by name.
    """

    def __init__(self, strategy: Hooks, learner: Learner, dataset: Any, number: int | None) -> None:
        self.strategy, self.learner = strategy, learner
        self.terms: dict[str, Tensor] = {}
        stream: list[Experience] = vars(strategy).setdefault("_stream", [])
        self._experience = Experience(dataset, len(stream) if number is None else number, stream)
        self._last: tuple[Any, Any] | None = None
        self._read = self._told = False
        self._steps = self._losses = 0
        self._watch = Watch(self._before_step, self._after_step)

    def __enter__(self) -> Running:
        strategy, learner, own = self.strategy, self.learner, self._experience
        if getattr(strategy, "reads_data", False) and not hasattr(own.dataset, "__getitem__"):
            raise TypeError(
                f"{self._name} looks at what was trained on: strategy.experience(learner, dataset) takes it, "
                f"a sequence of examples, not {type(own.dataset).__name__}"
            )
        own.origin_stream.append(own)
        learner.begin(own.current_experience)
        strategy.before_experience(learner, own)
        if list(strategy.phases(own)) != [Phase()]:
            raise TypeError(f"{self._name} trains in phases, which a loop of one's own does not have")
        self.dataset = learner.dataset = strategy.training_set(own)
        held = {p for group in learner.optimizer.param_groups for p in group["params"]}
        grown = [p for p in learner.model.parameters() if p.requires_grad and p not in held]
        if grown:
            learner.optimizer.add_param_group({"params": grown})
        self._watch.on(learner.optimizer)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.off()
        if kind is not None:
            return
        if self._losses and not self._steps and any(p.requires_grad for p in self.learner.model.parameters()):
            raise RuntimeError(
                f"{self._name} saw no step: the loop steps another optimizer than learner.optimizer"
            )
        self.strategy.after_experience(self.learner, self._experience)
        if not chooses_data(self.strategy):
            self._experience.dataset = None  # nothing asks for it again

    def turn(self, dataset: Any) -> None:
        """Between two steps, this experience ends and the next one begins."""
        self.strategy.after_experience(self.learner, self._experience)
        stream = self._experience.origin_stream
        self._experience.dataset = None
        self._experience = Experience(dataset, len(stream), stream)
        stream.append(self._experience)
        self.dataset = self.learner.dataset = dataset
        self.learner.begin(self._experience.current_experience)
        self.strategy.before_experience(self.learner, self._experience)
        self._read = False

    @property
    def _name(self) -> str:
        return type(self.strategy).__name__

    def epochs(self, count: int) -> Iterator[int]:
        """The numbers of so many passes over the data, for strategies that look at where training stands."""
        for epoch in range(count):
            self.learner.at_epoch(epoch)
            self.strategy.before_epoch(self.learner)
            self._read = True
            yield epoch

    def loss(self, batch: Any, outputs: Any) -> Tensor:
        """The strategy's terms for a batch, summed: a scalar to add to the task's loss, zero without terms.

        With gradient accumulation: for every micro-batch, weighted as the task's loss is.

        Args:
            batch: as ``learner.predict`` takes it.
            outputs: what the model made of it, with its graph.
        """
        if not self._read:
            self.strategy.before_epoch(self.learner)
            self._read = True
        self._watch.on(self.learner.optimizer)
        self.terms = self.strategy.loss(self.learner, batch, outputs)
        self._last, self._losses = (batch, outputs), self._losses + 1
        device = next((p.device for p in self.learner.model.parameters()), None)
        # It can be differentiated even where nothing is trained, as with Frozen.
        total = torch.zeros((), device=device, requires_grad=True)
        for term in self.terms.values():
            total = total + term
        return total

    def after_backward(self) -> None:
        """Gradients are complete: only for a loop that clips them, right before it does.

        Otherwise they are looked at when the optimizer steps.
        """
        if self._told:
            raise RuntimeError(
                "after_backward was called twice before one step of the optimizer: call it once, "
                "after the backward pass of the last micro-batch"
            )
        self.strategy.after_backward(self.learner)
        self._told = True

    def _before_step(self, ready: bool) -> None:
        if self._last is None:
            raise RuntimeError(
                f"this step is without the terms of {self._name}: "
                "add experience.loss(batch, outputs) to the loss"
            )
        if not self._told and not ready:
            raise RuntimeError(
                "optimizer.step(closure) computes gradients inside: "
                "call experience.after_backward() at the end of the closure"
            )
        if not self._told:
            with torch.enable_grad():
                self.strategy.after_backward(self.learner)

    def _after_step(self) -> None:
        assert self._last is not None
        batch, outputs = self._last
        self._told, self._last, self._steps = False, None, self._steps + 1
        self.learner.stepped()
        self.strategy.after_step(self.learner, batch, outputs)
