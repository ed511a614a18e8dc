"""ER-ACE: new examples contrast among themselves, stored ones with everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.data.batch import Batch
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.composition import enough, stored_batch
from clplat.mechanisms.per_example import among_own_classes
from clplat.models.outputs import Outputs, as_outputs
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["ERACE"]


class ERACE(Strategy):
    """Replay with an asymmetric cross-entropy, so that new examples do not push old ones away.

    ``loss = task(batch, its own classes alone) + weight * task(memory batch, all classes)``

    Of logits, those of classes that are not in the new batch are left out of its softmax, so that its
    gradient cannot lower them. Of embeddings the negatives of a new query are the candidates of the new
    batch, as ever; a stored query has those of the memory batch, which is of all domains, and those of the
    new batch, which are not moved by it.

    Args:
        size: exemplars in the memory, a reservoir that fills after every step.
        batch_size: exemplars per step.
        weight: of the stored exemplars' loss.
        seed: of the memory; by default the experiment's.

    References:
        Caccia et al. 2022, New Insights on Reducing Abrupt Representation Change in Online Continual
        Learning, arXiv 2104.05025.

    Needs:
        A learner with ``predict`` and ``task_loss``; logits need batches ``(x, y, ...)`` with classes y.

    Relations:
        `Replay` with a reservoir is symmetric: all classes in both softmaxes, one domain in both batches.

    Example:
        >>> from strategies import ERACE
        >>> ERACE(size=100).memory_bytes()
        0
    """

    terms = ("replay",)
    stores = "exemplars"
    shares = False  # the memory fills with what this process trains on

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        weight: Annotated[float, Float(0.25, 4.0, log=True)] = 1.0,
        seed: int | None = None,
    ) -> None:
        if weight < 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.size, self.batch_size, self.weight, self.seed = size, enough(batch_size), weight, seed
        self.memory = Memory(size, "reservoir", seed or 0)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        stored = stored_batch(self.memory, self.batch_size, outputs, "all")
        if stored is None:
            return {}
        made, again = as_outputs(outputs), learner.predict(stored)
        if isinstance(made, Tensor):
            narrower = among_own_classes(learner, batch, made)
            return {"replay": narrower + self.weight * learner.task_loss(stored, again)}
        return {"replay": self.weight * learner.task_loss(*_beside(stored, as_outputs(again), batch, made))}

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.memory.offer(batch, str(learner.progress.experience))

    def memory_bytes(self) -> int:
        return self.memory.bytes()


def _beside(stored: Any, made: Any, batch: Any, new: Outputs) -> tuple[Any, Outputs]:
    """A stored batch and its outputs with the candidates of a new one as further negatives, not moved."""
    views = {name: _beside(stored, made.views[name], batch, new.views[name])[1] for name in made.views}
    joined = replace(made, candidates=torch.cat([made.candidates, new.candidates.detach()]), views=views)
    if not isinstance(stored, Batch) or not isinstance(batch, Batch):
        return stored, joined
    answers = [[label == other for other in batch.labels] for label in stored.labels[: len(stored)]]
    sees = [[scope == "batch" for scope in batch.scopes]] * len(stored)
    columns = dict(stored.columns)
    for name, more in (("positive", answers), ("valid", sees)):
        held = stored.columns[name]
        columns[name] = replace(held, value=torch.cat([held.value, torch.tensor(more).to(held.value)], 1))
    return Batch(columns, stored.owners), joined
