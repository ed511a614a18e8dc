"""Dual teacher: two earlier models, each trusted for an example as far as it is right about it."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.relation import relation_kl
from clplat.mechanisms.teacher import Teacher
from clplat.models.outputs import are_embeddings, similarities
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["DualTeacher"]


class DualTeacher(Strategy):
    """Relation distillation from the pretrained and the previous model, weighted example by example.

    ``loss = weight * sum_k mean_i w_ik (KL_row(T_k || S, i) + KL_column(T_k || S, i)) / 2``, with
    ``w_i = softmax_k(-CE_k,i / sharpness)``

    S and T_k are the batch's scores of student and teacher k, divided by the temperature; row i is query i
    over all candidates, column i its target over all queries, and CE_k,i the teacher's cross-entropy of row i
    with its target. A teacher that finds the target counts more than one that does not.

    Args:
        weight: of the term.
        temperature: of all softmaxes over scores.
        sharpness: of the choice between teachers; large values average them.

    References:
        Zhang et al. 2024 (MulKI), Multi-Stage Knowledge Integration of Vision-Language Models for Continual
        Learning, arXiv 2411.06764: its two teachers, weighted per example.

    Needs:
        A learner with ``predict`` whose outputs are `clplat.parts.Outputs` or a pair of unit rows (B, D) and
        (C, D), the B targets first.

    Relations:
        `Distill` has one of the two teachers.

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
        temperature: Annotated[float, Float(0.01, 0.2, log=True)] = 0.05,
        sharpness: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
    ) -> None:
        if not (weight >= 0 and temperature > 0 and sharpness > 0):
            raise ValueError(
                "weight must be at least 0, temperature and sharpness greater than 0, "
                f"not {weight}, {temperature} and {sharpness}"
            )
        self.weight, self.temperature, self.sharpness = weight, temperature, sharpness
        self._initial, self._previous = Teacher(which="initial"), Teacher(which="previous")

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self._initial.update(learner.model)
        self._previous.update(learner.model, learner.pretrained)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not are_embeddings(outputs):
            raise TypeError("DualTeacher needs embeddings of two sides, not logits: Distill takes those")
        if not self._previous.knows:
            return {}
        student = similarities(outputs) / self.temperature
        made = [teacher.outputs(learner, batch) for teacher in (self._initial, self._previous)]
        teachers = [similarities(one) / self.temperature for one in made]
        right = torch.arange(len(student), device=student.device)
        wrong = torch.stack([F.cross_entropy(t, right, reduction="none") for t in teachers])
        shares = (-wrong / self.sharpness).softmax(0)
        terms = [
            (share * (relation_kl(student, t) + relation_kl(_own(student).T, _own(t).T))).mean() / 2
            for share, t in zip(shares, teachers, strict=True)
        ]
        return {"dual": self.weight * torch.stack(terms).sum()}


def _own(logits: Tensor) -> Tensor:
    """The scores (B, B) with the targets alone."""
    return logits[:, : len(logits)]
