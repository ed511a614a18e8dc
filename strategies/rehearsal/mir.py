"""MIR: rehearse the exemplars that the step to come would harm most."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.mechanisms.examples import length, take
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.composition import enough, stored_batch
from clplat.mechanisms.per_example import losses_of
from clplat.mechanisms.teacher import Teacher
from clplat.models.names import named_parameters
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["MIR"]


class MIR(Strategy):
    """Maximally interfered retrieval: of stored candidates, those whose loss a virtual step raises most.

    ``theta' = theta - lr * grad task(batch)``; of ``candidates`` drawn exemplars of earlier experiences the
    ``batch_size`` with the largest ``loss(theta') - loss(theta)`` are rehearsed: ``loss = task(batch) +
    weight * task(chosen)``. The loss of an exemplar is the cross-entropy of its class, or of its target among
    the candidates drawn. The virtual step is plain gradient descent by the optimizer's learning rate,
    whatever its momentum.

    A step costs one backward pass and two passes over the candidates without gradients more than `Replay`'s.

    Args:
        size: exemplars in the memory, a reservoir that fills after every step.
        batch_size: exemplars per step.
        candidates: exemplars that these are chosen from.
        weight: of the rehearsed exemplars' loss.
        seed: of the memory; by default the experiment's.

    References:
        Aljundi et al. 2019, Online Continual Learning with Maximally Interfered Retrieval, arXiv 1908.04742.

    Needs:
        A learner with ``predict`` and ``task_loss``; logits need batches ``(x, y, ...)`` with classes y.

    Relations:
        `Replay` with a reservoir draws its exemplars.

    Example:
        >>> from strategies import MIR
        >>> MIR(size=100).memory_bytes()
        0
    """

    terms = ("replay",)
    stores = "exemplars"
    shares = False  # the memory fills with what this process trains on

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        candidates: int = 128,
        weight: Annotated[float, Float(0.25, 4.0, log=True)] = 1.0,
        seed: int | None = None,
    ) -> None:
        if not (weight >= 0 and candidates >= batch_size):
            raise ValueError(
                "weight must be at least 0 and candidates at least batch_size, "
                f"not {weight} and {candidates} for {batch_size}"
            )
        self.size, self.batch_size, self.candidates = size, enough(batch_size), candidates
        self.weight, self.seed = weight, seed
        self.memory = Memory(size, "reservoir", seed or 0)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        current = str(learner.progress.experience)
        stored = stored_batch(self.memory, self.candidates, outputs, without=current)
        if stored is None:
            return {}
        if length(stored) > self.batch_size:
            harm = self._after_step(learner, batch, outputs, stored)
            stored = take(stored, harm.topk(self.batch_size).indices.sort().values.tolist())
        return {"replay": self.weight * learner.task_loss(stored, learner.predict(stored))}

    def _after_step(self, learner: SupportsLearning, batch: Any, outputs: Any, stored: Any) -> Tensor:
        """How much the loss of each stored example rises by a step on the batch."""
        groups = learner.optimizer.param_groups
        rates = {parameter: group["lr"] for group in groups for parameter in group["params"]}
        named = {n: p for n, p in named_parameters(learner.model) if p.requires_grad and p in rates}
        loss = learner.task_loss(batch, outputs)
        found = torch.autograd.grad(loss, [*named.values()], retain_graph=True, materialize_grads=True)
        slopes = learner.averaged(found)  # as the step itself, where several processes train together
        stepped = {
            name: p.detach() - rates[p] * slope
            for (name, p), slope in zip(named.items(), slopes, strict=True)
        }
        now = {name: p.detach().clone() for name, p in named.items()}
        # A momentum teacher is one of which nothing is kept: the next step's is another.
        before, after = (
            losses_of(stored, Teacher(tensors, "momentum").outputs(learner, stored))
            for tensors in (now, stepped)
        )
        return after - before

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.memory.offer(batch, str(learner.progress.experience))

    def memory_bytes(self) -> int:
        return self.memory.bytes()
