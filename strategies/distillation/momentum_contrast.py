"""Momentum contrast: more candidates than a batch has, from a slower model and a queue."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.mechanisms.queue import RowQueue, alike
from clplat.models.outputs import are_embeddings, as_outputs, cosines
from clplat.parts.losses.info_nce import info_nce
from clplat.parts.teachers._base import TeacherPart, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["MomentumContrast"]


class MomentumContrast(Strategy):
    """Contrast with what a slower model makes of the batch, and made of the batches before.

    ``loss = weight * (CE(q_i over [T', T-queue]) + CE(t_i over [Q', Q-queue])) / 2``

    Q' and T' are the slower model's queries and targets of the batch, the answers; the queues hold those of
    earlier batches, all of them wrong answers except what is the same thing by its label. With the teacher
    ``compatible`` the slower model keeps near the model before this domain as well.

    Args:
        weight: of the term.
        teacher: the slower model.
        size: rows of each queue.
        temperature: of the cosines.

    References:
        Zhu et al. 2023 (CTP), Towards Vision-Language Continual Pretraining via Compatible Momentum Contrast
        and Topology Preservation, arXiv 2308.07146; He et al. 2020 (MoCo), arXiv 1911.05722.

    Needs:
        A learner with ``predict`` whose outputs are `clplat.parts.Outputs` or a pair of unit rows (B, D) and
        (C, D), the B targets first.

    Relations:
        CTP is this with `Distill` of relations across and within both sides.

    Example:
        >>> from strategies import MomentumContrast
        >>> MomentumContrast(size=256).size
        256
    """

    needs_embeddings = True
    terms = ("momentum",)
    stores = "weights"
    shares = False  # the queues fill with what this process trains on

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        teacher: TeacherPart | None = None,
        size: Annotated[int, Int(32, 4096, log=True)] = 1024,
        temperature: Annotated[float, Float(0.02, 0.3, log=True)] = 0.07,
    ) -> None:
        if not (weight >= 0 and temperature > 0):
            raise ValueError(
                f"weight must be at least 0 and temperature above 0, not {weight} and {temperature}"
            )
        self.weight, self.size, self.temperature = weight, size, temperature
        self.teacher = teacher_named("compatible" if teacher is None else teacher)
        self._queries, self._targets = RowQueue(size), RowQueue(size)
        self._fresh: tuple[Tensor, Tensor, list[str]] | None = None

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        self.teacher.begin(learner)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not are_embeddings(outputs):
            raise TypeError("MomentumContrast needs embeddings of two sides, not logits")
        own: Any = as_outputs(outputs)
        slow: Any = as_outputs(self.teacher.outputs(learner, batch))
        count, names = len(own.query), _names(batch, len(own.query))
        self._fresh = slow.query, slow.candidates[:count], names
        forth = self._one_way(own.query, self._fresh[1], self._targets, names)
        back = self._one_way(own.candidates[:count], self._fresh[0], self._queries, names)
        return {"momentum": self.weight * (forth + back) / 2}

    def _one_way(self, rows: Tensor, answers: Tensor, queue: RowQueue, names: list[str]) -> Tensor:
        logits = cosines(rows, queue.behind(answers), 1.0 / self.temperature)
        right, again = alike(names, names).fill_diagonal_(True), alike(names, queue.names)
        positive = torch.cat([right, torch.zeros_like(again)], dim=1).to(rows.device)
        valid = torch.cat([torch.ones_like(right), ~again], dim=1).to(rows.device)
        return info_nce(logits, positive=positive, valid=valid)

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.teacher.follow(learner)
        if self._fresh is not None:
            queries, targets, names = self._fresh
            self._queries.add(queries, names)
            self._targets.add(targets, names)


def _names(batch: Any, count: int) -> list[str]:
    """What the targets of a batch show, where it says so."""
    return [str(name) for name in getattr(batch, "labels", [""] * count)[:count]]
