"""Prototype distill: relations with prototypes of both sides follow two teachers, example by example."""

from __future__ import annotations

from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clplat.config.space import Float, Int
from clplat.data.batch import Batch
from clplat.mechanisms.prototypes import Bank
from clplat.mechanisms.relation import relation_kl
from clplat.mechanisms.sample_weights import shares_by_answer
from clplat.models.outputs import are_embeddings, as_outputs
from clplat.parts.teachers._base import teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["PrototypeDistill"]


class PrototypeDistill(Strategy):
    """Two teachers of how an example stands to prototypes, within its own side and across.

    Every answer has a prototype of its queries and one of its targets, moving means of unit rows. Each model
    has prototypes of its own: those of the previous model are the student's when it became that.

    * ``align = eliciting * (CE(q . P_target / T) + CE(t . P_query / T)) / 2``: an example finds the prototype
      of its answer on the other side;
    * ``relations = weight * sum_k mean_i w_ik mean_r KL(r_k,i || r_i)`` over the relations r of example i:
      of query and target to the prototypes of their own and of the other side, softmaxes of cosines / T; w_ik
      is how well teacher k finds the target of i among the batch (`clplat.mechanisms.sample_weights`).

    Args:
        weight: of the relations.
        eliciting: weight of the alignment with prototypes.
        temperature: T.
        sharpness: of the choice between teachers; large values average them.
        momentum: of the prototypes.
        size: answers with prototypes, at most; the oldest are given up.

    References:
        Zhang et al. 2024 (MulKI), Multi-Stage Knowledge Integration of Vision-Language Models for Continual
        Learning, arXiv 2411.06764: its stages Eliciting, Adding and Distinguishing, recalled.

    Needs:
        A learner with ``predict`` whose outputs are embeddings of two sides, and batches that say what
        answers a query, clplat's `Batch`.

    Relations:
        `DualTeacher` has the relations of a batch; with `WeightAverage` and `Patch` beside it models within
        and between domains are connected, MulKI's last stage.

    Example:
        >>> from strategies import PrototypeDistill
        >>> PrototypeDistill(weight=2.0).terms
        ('align', 'relations')
    """

    needs_embeddings = True
    terms = ("align", "relations")
    stores = "weights"

    def __init__(
        self,
        weight: Annotated[float, Float(0.1, 30.0, log=True)] = 3.0,
        eliciting: Annotated[float, Float(0.01, 4.0, log=True)] = 0.1,
        temperature: Annotated[float, Float(0.01, 0.2, log=True)] = 0.05,
        sharpness: Annotated[float, Float(0.1, 10.0, log=True)] = 1.0,
        momentum: Annotated[float, Float(0.5, 0.999)] = 0.9,
        size: Annotated[int, Int(64, 4096, log=True)] = 1024,
    ) -> None:
        if not (weight >= 0 and eliciting >= 0 and temperature > 0 and sharpness > 0):
            raise ValueError(
                "weight and eliciting must be at least 0, temperature and sharpness above 0, "
                f"not {weight}, {eliciting}, {temperature} and {sharpness}"
            )
        self.weight, self.eliciting, self.temperature = weight, eliciting, temperature
        self.sharpness, self.momentum, self.size = sharpness, momentum, size
        self._initial, self._previous = teacher_named("initial"), teacher_named("previous")
        self._bank, self._initial_bank, self._previous_bank = (Bank(momentum, size) for _ in range(3))
        self._rows: list[tuple[list[str], list[tuple[Tensor, Tensor]]]] = []

    @property
    def _banks(self) -> tuple[Bank, Bank, Bank]:
        return self._bank, self._initial_bank, self._previous_bank

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        for teacher in (self._initial, self._previous):
            teacher.begin(learner)
        self._previous_bank.held = dict(self._bank.held)

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not (are_embeddings(outputs) and isinstance(batch, Batch)):
            raise TypeError("PrototypeDistill needs batches that say what answers a query, and embeddings")
        names = [name or f"example {key}" for name, key in zip(batch.labels, batch.ids, strict=False)]
        models = [outputs, *(one.outputs(learner, batch) for one in (self._initial, self._previous))]
        rows = [_sides(one) for one in models]
        self._rows.append((names, [(q.detach().cpu(), t.detach().cpu()) for q, t in rows]))
        student, *teachers = self._relations(names, rows)
        columns = {name: place for place, name in enumerate(self._columns(names))}
        own = torch.tensor([columns[name] for name in names], device=student[0].device)
        found = F.cross_entropy(student[1], own) + F.cross_entropy(student[3], own)
        terms = {"align": self.eliciting * found / 2}
        if self._initial.knows and self._previous.knows:
            shares = shares_by_answer([q @ t.T / self.temperature for q, t in rows[1:]], self.sharpness)
            apart = torch.stack([_apart(student, teacher) for teacher in teachers])
            terms["relations"] = self.weight * (shares * apart).sum(0).mean()
        return terms

    def _columns(self, names: list[str]) -> list[str]:
        """The answers with prototypes: those that are held, and what is new in a batch."""
        return [*dict.fromkeys([*self._bank.held, *names])]

    def _relations(self, names: list[str], rows: list[tuple[Tensor, Tensor]]) -> list[list[Tensor]]:
        """Logits (B, K) of each model: of queries to both kinds of prototypes, own first, and of targets."""
        found = []
        for (q, t), bank, (queries, targets) in zip(rows, self._banks, self._rows[-1][1], strict=True):
            seen = bank.seen_with(names, queries, targets)
            of_q, of_t = torch.stack([seen[name] for name in self._columns(names)], dim=1).to(q)
            pairs = [(q, of_q), (q, of_t), (t, of_t), (t, of_q)]
            found.append([left @ right.T / self.temperature for left, right in pairs])
        return found

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        # Prototypes move once per step: by all its micro-batches, in all processes.
        read = [one for own in learner.gathered(self._rows) for one in own]
        for place, bank in enumerate(self._banks) if read else ():
            names = [name for own, _ in read for name in own]
            bank.take(names, *(torch.cat([rows[place][side] for _, rows in read]) for side in (0, 1)))
        self._rows = []
        for teacher in (self._initial, self._previous):
            teacher.follow(learner)


def _sides(outputs: Any) -> tuple[Tensor, Tensor]:
    """Unit rows of queries and of their targets."""
    made: Any = as_outputs(outputs)
    count = len(made.query)
    return F.normalize(made.query.float(), dim=-1), F.normalize(made.candidates[:count].float(), dim=-1)


def _apart(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """How far each example's relations are from a teacher's (B,), the mean over kinds of relations."""
    return torch.stack([relation_kl(own, other) for own, other in zip(student, teacher, strict=True)]).mean(0)
