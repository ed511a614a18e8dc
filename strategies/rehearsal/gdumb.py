"""GDumb: keep a balanced memory, and train on it alone, from where the stream began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from clplat.config.space import Int
from clplat.mechanisms.examples import content_bytes
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.groups import label_of
from clplat.mechanisms.teacher import snapshot
from clplat.mechanisms.weight_space import leading
from clplat.models.names import named_buffers, named_parameters
from clplat.training.phases import Phase
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["GDumb"]


class GDumb(Strategy):
    """Greedy sampler, dumb learner: every experience begins anew and sees nothing but the memory.

    The new data are offered to a memory in which every class has an equal share; the weights go back to what
    they were before the stream; then the memory is the training set. A class is an integer y of examples
    ``(x, y, ...)``, and a domain where there are none. Of a pretrained model "from scratch" means from its
    pretrained weights: what is measured is how far a memory of this size goes without any continual learning.

    Args:
        size: exemplars in the memory, over all classes.
        epochs: passes over the memory per experience; those of the configuration unless given. A memory is
            smaller than a domain: equal numbers of passes are fewer steps.
        seed: of the memory; by default the experiment's.

    References:
        Prabhu et al. 2020, GDumb: A Simple Approach that Questions Our Progress in Continual Learning, ECCV.

    Needs:
        Experiences that know their stream, as Avalanche's do (``experience.origin_stream``): the memory
        stores which examples of it are kept, and counts the bytes of what they hold.

    Relations:
        `Cumulative` is the unbounded limit, without going back; `Replay` trains on new data beside the
        memory.

    Example:
        >>> from strategies import GDumb
        >>> GDumb(size=100).memory_bytes()
        0
    """

    stores = "exemplars"
    state = ("_start", "_bytes")

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        epochs: int | None = None,
        seed: int | None = None,
    ) -> None:
        self.size, self.epochs, self.seed = size, epochs, seed
        self.memory = Memory(size, "balanced", seed or 0, per="class")
        self._start: dict[str, Tensor] = {}
        self._bytes = 0

    @torch.no_grad()
    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        now = snapshot(learner.model, statistics=True)
        for name, tensor in now.items():
            first = self._start.setdefault(name, tensor)
            if first.shape != tensor.shape:  # a head that grew: its new part is as new as ever
                leading(tensor, first).copy_(first)
                self._start[name] = first = tensor
        held = {**dict(named_parameters(learner.model)), **dict(named_buffers(learner.model))}
        for name, tensor in self._start.items():
            held[name].copy_(tensor)
        number, data = experience.current_experience, experience.dataset
        self.memory.add(_Places(), _Numbered(number, data))  # type: ignore[arg-type]

    def training_set(self, experience: Any) -> Any:
        places = sorted(place for rows in self.memory.groups.values() for place in rows)
        chosen = []
        for number in sorted({number for number, _ in places}):
            data = experience.origin_stream[number].dataset
            rows = [row for own, row in places if own == number]
            chosen.append(data.subset(rows) if hasattr(data, "subset") else Subset(data, rows))
        first, *others = chosen
        if not hasattr(first, "concat"):
            return ConcatDataset(chosen)
        for other in others:
            first = first.concat(other)
        return first

    def phases(self, experience: Any) -> Sequence[Phase]:
        return [Phase(epochs=self.epochs)]

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._bytes = content_bytes(learner.data(), learner.collate)

    def memory_bytes(self) -> int:
        return self._bytes


class _Numbered(Sequence[tuple[int, int]]):
    """The places (experience, row) of a data set's examples, and their classes."""

    def __init__(self, number: int, data: Any) -> None:
        self.number, self.data = number, data
        known = getattr(data, "targets", None)
        self.targets = [label_of(data[i]) for i in range(len(data))] if known is None else known

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: Any) -> Any:
        return self.number, row


class _Places:
    """Keeps places as they are."""

    def collate(self, examples: list[Any]) -> list[Any]:
        return examples
