"""Streams without boundaries: experiences of so many steps, one after the other, for as long as data come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from clplat.mechanisms.examples import join_examples, split_batch
from clplat.training.experience import Running
from clplat.training.order import chooses_data
from clplat.training.watch import Watch

if TYPE_CHECKING:
    from types import TracebackType

    from clplat.training.learner import Learner

__all__ = ["Stream"]


class Stream:
    """What `Strategy.stream` gives inside ``with``.

    Attributes:
        experience: number of the present one.
    """

    def __init__(self, strategy: Any, learner: Learner, every: int) -> None:
        if every < 1:
            raise ValueError(f"an experience has at least one step, not {every}")
        grows = getattr(strategy, "grows", False)
        if grows or chooses_data(strategy):
            what = "grows with every experience" if grows else "chooses the data of an experience"
            raise TypeError(f"{type(strategy).__name__} {what}, which a stream without boundaries has not")
        self.strategy, self.learner, self.every = strategy, learner, every
        self._rows: list[Any] = []
        self._keeps = strategy.reads_data
        self._running = Running(strategy, learner, self._rows if self._keeps else None, None)
        self._watch = Watch(lambda ready: None, self._stepped)
        self._collate = learner.collate_fn
        self._done = 0

    @property
    def experience(self) -> int:
        return self.learner.progress.experience

    def __enter__(self) -> Stream:
        if self._keeps:
            # What went by is kept as rows of batches, not as examples of a data set.
            self.learner.collate_fn = join_examples
        self._running.__enter__()
        self._watch.on(self.learner.optimizer)  # after that of the experience
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.off()
        try:
            self._running.__exit__(kind, error, trace)
        finally:
            self.learner.collate_fn = self._collate

    def loss(self, batch: Any, outputs: Any) -> Tensor:
        """As `clplat.training.experience.Running.loss`; what comes by is the data of this experience."""
        if self._keeps:
            self._rows += split_batch(batch)
        return self._running.loss(batch, outputs)

    def after_backward(self) -> None:
        """As `clplat.training.experience.Running.after_backward`."""
        self._running.after_backward()

    def _stepped(self) -> None:
        self._done += 1
        if self._done % self.every == 0:
            self._rows = []
            self._running.turn(self._rows if self._keeps else None)
