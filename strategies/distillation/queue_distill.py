"""Queue distillation: an item keeps its similarities to a queue of what a teacher made of earlier items."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.mechanisms.projector import Projector
from clplat.mechanisms.queue import RowQueue
from clplat.mechanisms.relation import Relation
from clplat.models.outputs import are_embeddings, as_outputs, cosines
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["QueueDistill"]


class QueueDistill(Strategy):
    """Relation distillation with a queue: how near an item is to earlier ones, by the teacher's embeddings.

    ``loss = weight * KL(softmax(z' K / T_t) || softmax(z K / T_s))``, the mean over queries and targets, with
    z of the student, z' of the teacher, and K the teacher's targets of the batch and of the batches before,
    also of earlier domains. The paper's cross-entropy differs by a constant.

    Args:
        weight: of the term.
        teacher: of any kind, ``clplat list teachers``. Where its rows are of another width than the
            student's, a linear projector of the student's is trained beside the model.
        size: rows of the queue.
        teacher_temperature: T_t.
        student_temperature: T_s; smaller than T_t, so that the student need not be as sharp.
        seed: of the projector; by default the experiment's.

    References:
        Chen et al. 2025 (COMODO), Cross-Modal Video-to-IMU Distillation for Efficient Egocentric Human
        Activity Recognition, arXiv 2503.07259.

    Needs:
        A learner with ``predict`` whose outputs are `clplat.parts.Outputs` or a pair of unit rows (B, D) and
        (C, D), the B targets first.

    Relations:
        `Distill` compares the items of one batch with each other.

    Example:
        >>> from strategies import QueueDistill
        >>> QueueDistill(size=128).size
        128
    """

    needs_embeddings = True
    terms = ("queue",)
    stores = "weights"
    shares = False  # the queue fills with what this process trains on

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 30.0, log=True)] = 3.0,
        teacher: TeacherPart | None = None,
        size: Annotated[int, Int(64, 4096, log=True)] = 512,
        teacher_temperature: Annotated[float, Float(0.02, 0.5, log=True)] = 0.1,
        student_temperature: Annotated[float, Float(0.01, 0.2, log=True)] = 0.05,
        seed: int | None = None,
    ) -> None:
        if weight < 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.weight, self.size, self.seed = weight, size, seed
        self.teacher_temperature, self.student_temperature = teacher_temperature, student_temperature
        self.relation = Relation("row", teacher_temperature, student_temperature)
        self.teacher = teacher_named("previous" if teacher is None else teacher)
        self._queue, self._projector = RowQueue(size), Projector(seed=seed or 0)
        self._fresh: Tensor | None = None

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.teacher.begin(learner)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not are_embeddings(outputs):
            raise TypeError("QueueDistill needs embeddings of two sides, not logits: Distill takes those")
        self._fresh = None
        if not self.teacher.knows:
            return {}
        own: Any = as_outputs(outputs)
        old: Any = as_outputs(self.teacher.outputs(learner, batch))
        self._fresh = old.candidates[: len(own.query)]
        keys = self._queue.behind(self._fresh)
        sides = ((own.query, old.query), (own.candidates[: len(own.query)], self._fresh))
        terms = [self.relation(cosines(self._fitted(z, keys), keys), cosines(t, keys)) for z, t in sides]
        return {"queue": self.weight * torch.stack(terms).mean()}

    def _fitted(self, rows: Tensor, keys: Tensor) -> Tensor:
        return rows if rows.shape[1] == keys.shape[1] else self._projector(rows, keys.shape[1])

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.teacher.follow(learner)
        self._projector.step(learner.averaged)
        if self._fresh is not None:
            self._queue.add(self._fresh)
