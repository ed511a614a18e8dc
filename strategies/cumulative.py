"""Cumulative: train on everything seen so far."""

from __future__ import annotations

from typing import Any

from torch.utils.data import ConcatDataset, Dataset

from clplat.continual.strategy import Strategy

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

    def training_set(self, experience: Any) -> Dataset[Any]:
        seen = experience.origin_stream[: experience.current_experience + 1]
        return ConcatDataset([earlier.dataset for earlier in seen])
