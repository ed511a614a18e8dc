"""Distill: keep the similarities that an earlier model saw."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float
from clplat.mechanisms.examples import labels_of
from clplat.mechanisms.relation import Relation
from clplat.mechanisms.sample_weights import difficulty, hard_pairs
from clplat.mechanisms.weight_space import leading
from clplat.models.outputs import are_embeddings, as_outputs, similarities
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Distill"]

_OF_COSINES, _OF_LOGITS = 0.05, 2.0
#: The logit scale of CLIP, at which papers on it give their temperatures.
_CLIP_SCALE = 100.0


class Distill(Strategy):
    """Relation distillation: the batch's query-candidate similarities follow those of an earlier model.

    ``loss = weight * KL(softmax(S_teacher / T) || softmax(S_student / T))`` over rows and columns of the
    similarity matrix of the batch. Teacher: the model before this domain (``previous``, as LwF and Mod-X),
    before the stream (``initial``, as ZSCL), or any other. In the first domain the previous model is the
    pretrained one; a model that was not (``learner.pretrained``) begins as its task alone says.

    Of a classifier S are its logits, by rows, over the classes of earlier experiences: this is LwF. Classes
    are known from integer labels in the second place of a batch; where there are none, all of the teacher's
    count. `clplat.mechanisms.relation.Relation` has the forms of the loss.

    Args:
        weight: of the term.
        teacher: of any kind, ``clplat list teachers``; from Python a name or an object.
        temperature: of both softmaxes. The default is one for cosines; logits have 2 in its place. None: each
            model's similarities times its own logit scale, as TinyCLIP.
        scaled: the temperature is for a logit scale of 100, as CLIP's, and similarities of models of another
            scale are brought to it: 0.02 softens logits by 2 whatever the model (LwF, ZSCL).
        axis: softmax over the candidates of a query, over the queries of a candidate, or both.
        mask_wrong_rows: leave out what the teacher itself gets wrong (Mod-X); needs ``batch.positive``.
        direction: of the divergence: ``reversed``: KL(student || teacher); ``match``: mean squared difference
            of the matrices.
        blend: share of the right answers in the teacher's distribution (CLIP-Refine).
        reduction: mean over the rows, or their sum.
        within: weight of the relations among queries and among targets, by rows, without the similarity of
            an item to itself (CTP); the mean of both.
        hardest: wrong candidates of each query that count, those that the teacher scores highest (DCD); 0:
            all. Needs ``batch.positive``.
        by_difficulty: each query counts the more, the better the teacher finds its target and the worse the
            student does: ``1 - exp(-CE_student / CE_teacher)`` (DCD).

    References:
        Li & Hoiem 2016 (LwF), arXiv 1606.09282; Ni et al. 2023 (Mod-X), arXiv 2305.07437; Zheng et al. 2023
        (ZSCL), arXiv 2303.06628; Zhu et al. 2023 (CTP), arXiv 2308.07146; Wu et al. 2023 (TinyCLIP), arXiv
        2309.12314; Yamaguchi et al. 2025 (CLIP-Refine), arXiv 2504.12717; Rao et al. 2023 (DCD), arXiv
        2207.01426.

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
        temperature: Annotated[float | None, Float(0.01, 0.2, log=True)] = _OF_COSINES,
        axis: Literal["both", "row", "column"] = "both",
        mask_wrong_rows: bool = False,
        direction: Literal["forward", "reversed", "cross_entropy", "match"] = "forward",
        blend: float = 0.0,
        reduction: Literal["mean", "sum"] = "mean",
        within: float = 0.0,
        hardest: int = 0,
        by_difficulty: bool = False,
        scaled: bool = False,
    ) -> None:
        if min(weight, within, hardest) < 0:
            raise ValueError(
                f"weight, within and hardest must be at least 0, not {weight}, {within} and {hardest}"
            )
        self.weight, self.teacher, self.temperature = weight, teacher, temperature
        self.axis, self.mask_wrong_rows, self.within = axis, mask_wrong_rows, within
        self.direction, self.blend, self.reduction = direction, blend, reduction
        self.hardest, self.by_difficulty, self.scaled = hardest, by_difficulty, scaled
        own = 1.0 if temperature is None else temperature
        wrong: Literal["dropped", "kept"] = "dropped" if mask_wrong_rows else "kept"
        self.relation = Relation(axis, own, own, direction, wrong, blend=blend, reduction=reduction)
        self._inside = replace(self.relation, axis="row", wrong_rows="kept", drop_diagonal=True, blend=0.0)
        logits = _OF_LOGITS if temperature in (_OF_COSINES, None) else own * (_CLIP_SCALE if scaled else 1.0)
        self._by_rows = Relation("row", logits, logits, direction, reduction=reduction)
        self._teacher = teacher_named(teacher)
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
        made = self._teacher.outputs(learner, batch)
        if are_embeddings(outputs):
            return {"distill": self.weight * self._of_embeddings(batch, outputs, made)}
        student, teacher = similarities(outputs), similarities(made)
        student = student[:, : teacher.shape[1]]  # a head that has grown since
        if self._units is not None:
            units = self._units.to(student.device)
            student, teacher = student[:, units], teacher[:, units]
        return {"distill": self.weight * self._by_rows(student, teacher)}

    def _of_embeddings(self, batch: Any, student: Any, teacher: Any) -> Tensor:
        (across, *among), (their_own, *their_others) = self._matrices(student), self._matrices(teacher)
        loss = self._across(batch, across, their_own)
        if among:
            inside = [self._inside(s, t) for s, t in zip(among, their_others, strict=True)]
            loss = loss + self.within * torch.stack(inside).mean()
        return loss

    def _across(self, batch: Any, student: Tensor, teacher: Tensor) -> Tensor:
        """The loss of queries and candidates."""
        right = batch.positive if self.mask_wrong_rows or self.blend > 0 or self.hardest else None
        valid = hard_pairs(teacher, batch.positive, self.hardest) if self.hardest else None
        if not self.by_difficulty:
            return self.relation(student, teacher, positive=right, valid=valid)
        seen = [x / self.relation.student_temperature for x in (student, teacher)]
        if valid is not None:
            seen = [x.masked_fill(~valid, -torch.inf) for x in seen]
        weights = difficulty(*seen)
        total = replace(self.relation, reduction="sum")(
            student, teacher, positive=right, valid=valid, weights=weights
        )
        return total / len(student) if self.reduction == "mean" else total

    def _matrices(self, outputs: Any) -> list[Tensor]:
        """Similarities of queries and candidates; where they count, of queries and of targets alone."""
        made: Any = as_outputs(outputs)
        scale = made.scale if self.temperature is None else made.scale / _CLIP_SCALE if self.scaled else 1.0
        found = [made.scores()]
        if self.within > 0:
            found += [made.scores(rows, rows) for rows in (made.query, made.candidates[: len(made.query)])]
        return [scale * scores for scores in found]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict({"met": None, "units": None, **state})  # older runs have had no classes
