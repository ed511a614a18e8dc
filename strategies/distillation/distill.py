"""Distill: keep the similarities that an earlier model saw."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.mechanisms.examples import labels_of
from clplat.mechanisms.weight_space import leading
from clplat.models.outputs import are_embeddings, as_outputs, similarities
from clplat.parts.losses.similarity_distillation import SimilarityDistillation
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Distill"]

_OF_COSINES, _OF_LOGITS = 0.05, 2.0


class Distill(Strategy):
    """Relation distillation: the batch's query-candidate similarities follow those of an earlier model.

    ``loss = weight * KL(softmax(S_teacher / T) || softmax(S_student / T))`` over rows and columns of the
    similarity matrix of the batch. Teacher: the model before this domain (``previous``, as LwF and Mod-X) or
    before the stream (``initial``, as ZSCL). In the first domain the previous model is the pretrained one; a
    model that was not (``learner.pretrained``) begins as its task alone says.

    Of a classifier S are its logits, by rows, over the classes of earlier experiences: this is LwF. Classes
    are known from integer labels in the second place of a batch; where there are none, all of the teacher's
    count.

    Args:
        weight: of the term.
        teacher: of any kind, ``clplat list teachers``; from Python a name or an object.
        temperature: of both softmaxes. The default is one for cosines; logits have 2 in its place.
        axis: softmax over the candidates of a query, over the queries of a candidate, or both.
        mask_wrong_rows: leave out what the teacher itself gets wrong (Mod-X); needs ``batch.positive``.

    References:
        Li & Hoiem 2016 (LwF), arXiv 1606.09282; Ni et al. 2023 (Mod-X), arXiv 2305.07437; Zheng et al. 2023
        (ZSCL), arXiv 2303.06628.

    Needs:
        A learner with ``predict`` whose outputs are logits (B, K), `clplat.parts.Outputs`, or a pair of unit
        rows (B, D) and (C, D), also with a scale behind it as open_clip's.

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
    state = ("_met", "_units")

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 30.0, log=True)] = 3.0,
        teacher: Annotated[
            TeacherPart | Literal["previous", "initial", "momentum", "average"], Choice("previous", "initial")
        ] = "previous",
        temperature: Annotated[float, Float(0.01, 0.2, log=True)] = _OF_COSINES,
        axis: Literal["both", "row", "column"] = "both",
        mask_wrong_rows: bool = False,
    ) -> None:
        if weight < 0:
            raise ValueError(f"weight must be at least 0, not {weight}")
        self.weight, self.teacher, self.temperature = weight, teacher, temperature
        self.axis, self.mask_wrong_rows = axis, mask_wrong_rows
        self.relation = SimilarityDistillation(axis, temperature, temperature, mask_wrong_rows)
        self._teacher = teacher_named(teacher)
        logits = _OF_LOGITS if temperature == _OF_COSINES else temperature
        self._by_rows = SimilarityDistillation("row", logits, logits)
        self._met: Tensor | None = None
        self._units: Tensor | None = None

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._teacher.begin(learner)
        self._units = None if self._met is None else self._met.nonzero()[:, 0]

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self._teacher.follow(learner)
        labels, made = labels_of(batch), as_outputs(outputs)
        if labels is not None and isinstance(made, Tensor):
            met = torch.zeros(made.shape[1] + 1, dtype=torch.bool, device=made.device)
            met[labels.clamp(min=-1)] = True  # labels to be ignored fall into the last place
            if self._met is not None:
                leading(met, self._met).logical_or_(self._met.to(met.device))
            self._met = met[:-1]

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not self._teacher.knows:
            return {}
        student = similarities(outputs)
        teacher = similarities(self._teacher.outputs(learner, batch))
        if are_embeddings(outputs):
            right = batch.positive if self.mask_wrong_rows else None
            return {"distill": self.weight * self.relation.compare(student, teacher, positive=right)}
        student = student[:, : teacher.shape[1]]  # a head that has grown since
        if self._units is not None:
            units = self._units.to(student.device)
            student, teacher = student[:, units], teacher[:, units]
        return {"distill": self.weight * self._by_rows.compare(student, teacher)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict({"met": None, "units": None, **state})  # older runs have had no classes
