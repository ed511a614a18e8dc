"""iCaRL: herded exemplars, distillation, and classes told by the mean of their exemplars."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.mechanisms.memory import Memory
from clplat.mechanisms.memory.composition import enough, stored_batch
from clplat.mechanisms.memory.descriptions import last_linear
from clplat.mechanisms.memory.nearest_mean import class_means, put_means
from clplat.mechanisms.relation import Relation
from clplat.mechanisms.teacher import Teacher
from clplat.mechanisms.weight_space import leading
from clplat.models.outputs import are_embeddings, similarities
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["ICaRL"]


class ICaRL(Strategy):
    """Rehearse exemplars chosen by herding, and keep what the previous model says of them and of new data.

    ``loss = task(batch) + task(memory batch) + weight * (KL(batch) + KL(memory batch))``

    KL(b) is between the previous model and this one: of logits row by row over the classes that the previous
    model knew, of embeddings over the rows and columns of the similarities of b (see `Distill`).

    A classifier is deployed with the nearest mean of exemplars: after each experience its last linear layer
    holds the unit means of the exemplars' unit features, so that the largest logit is that of the nearest
    mean; training goes on from the layer as it was. In retrieval nothing takes its place: a gallery holds one
    exemplar per answer, embedded by the model that asks, which is a nearest mean already.

    Args:
        size: exemplars in the memory, in equal shares of classes, or of domains where there are none.
        batch_size: exemplars per step.
        weight: of the distillation.
        temperature: of the logits' softmaxes; the similarities have 0.05.
        nearest_mean: of a classifier; False deploys the layer that was trained.
        seed: of the memory; by default the experiment's.

    References:
        Rebuffi et al. 2017, iCaRL: Incremental Classifier and Representation Learning, arXiv 1611.07725.

    Needs:
        A learner with ``predict`` and ``task_loss``; classes are integers y of examples ``(x, y, ...)``.

    Relations:
        `Replay` with herding and `Distill` are its parts, the second for new data alone.

    Example:
        >>> from strategies import ICaRL
        >>> ICaRL(size=100).memory_bytes()
        0
    """

    terms = ("distill", "replay")
    stores = "exemplars"
    reads_data = True
    state = ("_trained",)

    def __init__(
        self,
        size: Annotated[int, Int(50, 1000, log=True)] = 200,
        batch_size: int = 64,
        weight: Annotated[float, Float(0.1, 30.0, log=True)] = 1.0,
        temperature: float = 2.0,
        nearest_mean: bool = True,
        seed: int | None = None,
    ) -> None:
        if weight < 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.size, self.batch_size, self.weight, self.seed = size, enough(batch_size), weight, seed
        self.temperature, self.nearest_mean = temperature, nearest_mean
        self.memory = Memory(size, "herding", seed or 0, per="class")
        self._teacher = Teacher(which="previous")
        self._of_cosines = Relation("both", 0.05, 0.05)
        self._of_logits = Relation("row", temperature, temperature)
        self._trained: dict[str, Tensor] = {}

    @torch.no_grad()
    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        layer = last_linear(learner.model)
        for name, tensor in self._trained.items():
            leading(getattr(layer, name), tensor).copy_(tensor)
        self._teacher.update(learner.model, learner.pretrained)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        stored = stored_batch(self.memory, self.batch_size, outputs)
        if stored is None:
            return {}
        again = learner.predict(stored)
        apart = [self._distance(learner, b, made) for b, made in ((batch, outputs), (stored, again))]
        return {
            "distill": self.weight * torch.stack(apart).sum(),
            "replay": learner.task_loss(stored, again),
        }

    def _distance(self, learner: SupportsLearning, batch: Any, outputs: Any) -> Tensor:
        student, teacher = (similarities(o) for o in (outputs, self._teacher.outputs(learner, batch)))
        if are_embeddings(outputs):
            return self._of_cosines(student, teacher)
        known = sorted(int(name.split()[1]) for name in self.memory.groups if name.startswith("class"))
        known = known or [*range(teacher.shape[1])]
        return self._of_logits(student[:, known], teacher[:, known])

    def after_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.memory.add(learner, learner.data())
        if self.nearest_mean:
            self._trained = put_means(learner.model, class_means(learner, self.memory))

    def memory_bytes(self) -> int:
        return self.memory.bytes()
