"""Distill: keep the similarities that an earlier model saw."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.models.outputs import similarities
from clplat.parts.losses.similarity_distillation import SimilarityDistillation
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Distill"]


class Distill(Strategy):
    """Relation distillation: the batch's query-candidate similarities follow those of an earlier model.

    ``loss = weight * KL(softmax(S_teacher / T) || softmax(S_student / T))`` over rows and columns of the
    similarity matrix of the batch. Teacher: the model before this domain (``previous``, as LwF and Mod-X) or
    before the stream (``initial``, as ZSCL).

    Args:
        weight: of the term.
        teacher: of any kind, ``clplat list teachers``; from Python a name or an object.
        temperature: of both softmaxes.
        axis: softmax over the candidates of a query, over the queries of a candidate, or both.
        mask_wrong_rows: leave out what the teacher itself gets wrong (Mod-X); needs ``batch.positive``.

    References:
        Li & Hoiem 2016 (LwF), arXiv 1606.09282; Ni et al. 2023 (Mod-X), arXiv 2305.07437; Zheng et al. 2023
        (ZSCL), arXiv 2303.06628.

    Needs:
        A learner with ``predict`` whose outputs are `clplat.parts.Outputs` or a pair of unit rows (B, D) and
        (C, D).

    Relations:
        `EWC` protects weights instead of outputs; `BackwardCompatible` ties new
        queries to old candidates.

    Example:
        >>> from strategies import Distill
        >>> Distill(weight=2.0).weight
        2.0
    """

    terms = ("distill",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 30.0, log=True)] = 3.0,
        teacher: Annotated[
            TeacherPart | Literal["previous", "initial", "momentum", "average"], Choice("previous", "initial")
        ] = "previous",
        temperature: Annotated[float, Float(0.01, 0.2, log=True)] = 0.05,
        axis: Literal["both", "row", "column"] = "both",
        mask_wrong_rows: bool = False,
    ) -> None:
        if weight < 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.weight, self.teacher, self.temperature = weight, teacher, temperature
        self.axis, self.mask_wrong_rows = axis, mask_wrong_rows
        self.relation = SimilarityDistillation(axis, temperature, temperature, mask_wrong_rows)
        self._teacher = teacher_named(teacher)

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._teacher.begin(learner)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self._teacher.follow(learner)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        student = similarities(outputs)
        teacher = similarities(self._teacher.outputs(learner, batch))
        right = batch.positive if self.mask_wrong_rows else None
        return {"distill": self.weight * self.relation.compare(student, teacher, positive=right)}
