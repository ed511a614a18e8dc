"""The phases of an experience in a loop of one's own: what is trained in each, and how fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from clplat.training.learner import Learner
from clplat.training.phases import Phase, Span, hold, spans, trained_names

__all__ = ["Course"]


class Course:
    """Goes through phases, and leaves model and optimizer as they were.

    Args:
        phases: of the experience; one that does not say trains what is trainable when this is made.
        learner: whose model and optimizer follow them.
    """

    def __init__(self, phases: Sequence[Phase], learner: Learner) -> None:
        self.phases, self.learner = [*phases], learner
        self._span: Span | None = None
        self._held = trained_names(learner.model)
        self._rates: list[float] = []

    @property
    def waits(self) -> bool:
        """Whether there are phases and none has begun."""
        return self.phases != [Phase()] and self._span is None

    def epochs(self, count: int) -> Iterator[int]:
        """The numbers of all passes over the data, ``count`` of a phase that does not say how many."""
        course = spans(self.phases, count)
        for self._span in course:
            place, name = self.learner.progress, self._span.phase.name
            self.learner.progress = replace(place, epochs=course[-1].stop, phase=name)
            self.enter()
            yield from range(self._span.start, self._span.stop)

    def enter(self) -> None:
        """Train what the present phase trains, as fast as it says; again where the optimizer comes later."""
        if self._span is None or self.phases == [Phase()]:
            return
        hold(self.learner.model, self._held, self._span.phase)
        for parameter in self.learner.model.parameters():
            if not parameter.requires_grad:
                parameter.grad = None  # else an optimizer moves what it has a gradient of
        self._rates = self._rates or [group["lr"] for group in self._groups()]
        for group, rate in zip(self._groups(), self._rates, strict=False):
            group["lr"] = rate if self._span.phase.lr is None else self._span.phase.lr

    def leave(self) -> None:
        """All that was trainable is so again, at its own rate."""
        if self._span is not None and self.phases != [Phase()]:
            hold(self.learner.model, self._held)
            for group, rate in zip(self._groups(), self._rates, strict=False):
                group["lr"] = rate

    def _groups(self) -> list[dict[str, Any]]:
        return [] if self.learner.optimizer is None else self.learner.optimizer.param_groups
