"""Dual teacher: two or more other models, each trusted for an example as far as it is right about it."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.relation import relation_kl
from clplat.mechanisms.sample_weights import shares_by_answer
from clplat.models.outputs import are_embeddings, as_outputs, similarities
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["DualTeacher"]


class DualTeacher(Strategy):
    """Relation distillation from several models at once, weighted example by example.

    ``loss = weight * sum_k mean_i w_ik (KL_row(T_k || S, i) + KL_column(T_k || S, i)) / 2``, with
    ``w_i = softmax_k(-CE_k,i / sharpness)``

    S and T_k are the batch's scores of student and teacher k, divided by the temperature; row i is query i
    over all candidates, column i its target over all queries, and CE_k,i the teacher's cross-entropy of row i
    with its target. A teacher that finds the target counts more than one that does not.

    Args:
        weight: of the term.
        temperature: of all softmaxes over scores. None: each model's similarities times its own logit scale.
        sharpness: of the choice between teachers; large values average them. None: the plain mean.
        teachers: of any kind, ``clplat list teachers``; by default the pretrained and the previous model.

    References:
        Zhang et al. 2024 (MulKI), Multi-Stage Knowledge Integration of Vision-Language Models for Continual
        Learning, arXiv 2411.06764: its two teachers, weighted per example; Vasu et al. 2024 (MobileCLIP),
        arXiv 2311.17049: the mean over an ensemble.

    Needs:
        A learner with ``predict`` whose outputs are `clplat.parts.Outputs` or a pair of unit rows (B, D) and
        (C, D), the B targets first.

    Relations:
        `Distill` has one teacher, and more forms of the loss; the teacher ``ensemble`` is several as one.

    Example:
        >>> from strategies import DualTeacher
        >>> DualTeacher(weight=2.0).weight
        2.0
    """

    needs_embeddings = True
    terms = ("dual",)
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 30.0, log=True)] = 3.0,
        temperature: Annotated[float | None, Float(0.01, 0.2, log=True)] = 0.05,
        sharpness: Annotated[float | None, Float(0.1, 10.0, log=True)] = 1.0,
        teachers: list[TeacherPart] | None = None,
    ) -> None:
        positive = [value is None or value > 0 for value in (temperature, sharpness)]
        if not (weight >= 0 and all(positive)):
            raise ValueError(
                "weight must be at least 0, temperature and sharpness greater than 0, "
                f"not {weight}, {temperature} and {sharpness}"
            )
        self.weight, self.temperature, self.sharpness = weight, temperature, sharpness
        self.teachers = teachers
        named = [teacher_named(one) for one in teachers or ("initial", "previous")]
        if len(named) < 2:
            raise ValueError("dual_teacher needs at least two teachers: distill takes one")
        # Each under a name of its own, by which its state is found.
        self._names = [f"_teacher_{i}" for i in range(len(named))] if teachers else ["_initial", "_previous"]
        vars(self).update(zip(self._names, named, strict=True))

    @property
    def _held(self) -> list[TeacherPart]:
        return [vars(self)[name] for name in self._names]

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        for teacher in self._held:
            teacher.begin(learner)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        for teacher in self._held:
            teacher.follow(learner)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not are_embeddings(outputs):
            raise TypeError("DualTeacher needs embeddings of two sides, not logits: Distill takes those")
        if not all(teacher.knows for teacher in self._held):
            return {}
        student = self._logits(outputs)
        teachers = [self._logits(teacher.outputs(learner, batch)) for teacher in self._held]
        terms = [
            (share * (relation_kl(student, t) + relation_kl(_own(student).T, _own(t).T))).mean() / 2
            for share, t in zip(self._shares(teachers), teachers, strict=True)
        ]
        return {"dual": self.weight * torch.stack(terms).sum()}

    def _logits(self, outputs: Any) -> Tensor:
        if self.temperature is not None:
            return similarities(outputs) / self.temperature
        made: Any = as_outputs(outputs)
        scaled: Tensor = made.scores() * made.scale
        return scaled

    def _shares(self, teachers: list[Tensor]) -> Tensor:
        """How much each teacher counts for each example (K, B)."""
        if self.sharpness is None:
            return teachers[0].new_full((len(teachers), len(teachers[0])), 1 / len(teachers))
        return shares_by_answer(teachers, self.sharpness)


def _own(logits: Tensor) -> Tensor:
    """The scores (B, B) with the targets alone."""
    return logits[:, : len(logits)]
