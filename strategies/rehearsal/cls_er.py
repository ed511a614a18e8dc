"""CLS-ER: two running averages of the model, one quick and one slow, teach what was stored."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.composition import enough, stored_batch
from clplat.mechanisms.per_example import losses_of, rows_of, squared_distances
from clplat.mechanisms.teacher import Teacher, moving, snapshot
from clplat.randomness import generator
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["CLSER"]


class CLSER(Strategy):
    """Complementary learning systems: rehearsal, held to the better of a plastic and a stable average.

    ``loss = task(batch) + task(memory batch) + weight * mean_i |z_i - z'_i|^2``

    z are the rows that the model puts out for a stored example, logits or unit embeddings of query and
    target, and z' those of the average that has the smaller cross-entropy on it. After a step each average
    moves with the chance of its rate, ``t <- a t + (1 - a) theta``, a the smaller of its decay and
    n / (n + 1) after n steps. The stable one is what is deployed after each experience; training goes on
    from the model itself.

    Args:
        size: exemplars in the memory, a reservoir that fills after every step.
        batch_size: exemplars per step.
        weight: of the rows' distance.
        stable_decay: of the stable average. The paper's 0.999 needs thousands of steps.
        plastic_decay: of the plastic one.
        stable_rate: chance that the stable average moves in a step.
        plastic_rate: chance that the plastic one does.
        seed: of the memory and of these chances; by default the experiment's.

    References:
        Arani et al. 2022, Learning Fast, Learning Slow: A General Continual Learning Method based on
        Complementary Learning System, arXiv 2201.12604.

    Needs:
        A learner with ``predict`` and ``task_loss``; logits need batches ``(x, y, ...)`` with classes y.

    Relations:
        `DER` holds the model to what it put out when an example was stored; `WeightAverage` deploys an
        average that teaches nothing.

    Example:
        >>> from strategies import CLSER
        >>> CLSER(size=100).memory_bytes()
        0
    """

    terms = ("consistency", "replay")
    stores = "exemplars"
    shares = False  # the memory fills with what this process trains on
    state = ("_working", "_steps")

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        weight: Annotated[float, Float(0.01, 10.0, log=True)] = 0.1,
        stable_decay: Annotated[float, Float(0.5, 0.999)] = 0.9,
        plastic_decay: float = 0.9,
        stable_rate: Annotated[float, Float(0.05, 1.0, log=True)] = 0.7,
        plastic_rate: float = 0.9,
        seed: int | None = None,
    ) -> None:
        if not (weight >= 0 and 0 < stable_rate <= 1 and 0 < plastic_rate <= 1):
            raise ValueError(
                f"weight must be at least 0 and rates in (0, 1], not {weight}, {stable_rate}, {plastic_rate}"
            )
        self.size, self.batch_size, self.weight, self.seed = size, enough(batch_size), weight, seed
        self.stable_decay, self.plastic_decay = stable_decay, plastic_decay
        self.stable_rate, self.plastic_rate = stable_rate, plastic_rate
        self.memory = Memory(size, "reservoir", seed or 0)
        self._stable = Teacher(which="momentum", decay=stable_decay)
        self._plastic = Teacher(which="momentum", decay=plastic_decay)
        self._working: dict[str, Tensor] = {}
        self._steps = 0

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        _put(learner, self._working)
        for teacher in (self._stable, self._plastic):
            teacher.update(learner.model)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        stored = stored_batch(self.memory, self.batch_size, outputs)
        if stored is None:
            return {}
        now = learner.predict(stored)
        stable, plastic = (teacher.outputs(learner, stored) for teacher in (self._stable, self._plastic))
        better = losses_of(stored, stable) <= losses_of(stored, plastic)
        apart = [
            squared_distances(new, torch.where(better.view(-1, *[1] * (slow.ndim - 1)), slow, quick))
            for new, slow, quick in zip(rows_of(now), rows_of(stable), rows_of(plastic), strict=True)
        ]
        return {
            "consistency": self.weight * torch.stack(apart).mean(),
            "replay": learner.task_loss(stored, now),
        }

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.memory.offer(batch, str(learner.progress.experience))
        draw = torch.rand(2, generator=generator(self.seed or 0, "averages", learner.progress.step)).tolist()
        averages = (
            (self._stable, self.stable_rate, self.stable_decay),
            (self._plastic, self.plastic_rate, self.plastic_decay),
        )
        self._steps += 1
        for drawn, (teacher, rate, decay) in zip(draw, averages, strict=True):
            if drawn < rate:
                teacher.decay = min(decay, self._steps / (self._steps + 1))
                teacher.follow(learner.model)

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._working = snapshot(learner.model, statistics=True)
        _put(learner, self._stable.tensors or {})

    def memory_bytes(self) -> int:
        return self.memory.bytes()


@torch.no_grad()
def _put(learner: SupportsLearning, tensors: dict[str, Tensor]) -> None:
    for name, tensor in moving(learner.model, statistics=True).items():
        if name in tensors and tensors[name].shape == tensor.shape:
            tensor.copy_(tensors[name])
