"""Cumulative: train on everything seen so far."""

from __future__ import annotations

from typing import Any

from torch.utils.data import ConcatDataset, Dataset

from clplat.mechanisms.examples import content_bytes
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Cumulative"]


class Cumulative(Strategy):
    """Train each experience on the data of all experiences so far: the upper bound, at growing cost.

    Every triplet ever seen is stored and the number of steps grows with the stream, which is what a
    continual learner may not do.

    Needs:
        Experiences that know their stream, as Avalanche's do (``experience.origin_stream``).

    Relations:
        `Replay` approaches it with a bounded memory.

    Example:
        >>> from strategies import Cumulative
        >>> plugin = Cumulative().as_plugin()
    """

    role = "upper bound"
    stores = "everything"
    state = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = 0

    def training_set(self, experience: Any) -> Dataset[Any]:
        seen = experience.origin_stream[: experience.current_experience + 1]
        first, *others = (earlier.dataset for earlier in seen)
        if not hasattr(first, "concat"):
            return ConcatDataset([first, *others])
        joined: Any = first  # Avalanche's own, which keeps task labels and collate
        for other in others:
            joined = joined.concat(other)
        return joined  # type: ignore[no-any-return]

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._bytes += content_bytes(experience.dataset, learner.collate)

    def memory_bytes(self) -> int:
        """Everything seen so far, stored as a memory would store it."""
        return self._bytes
