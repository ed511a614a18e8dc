"""Pseudo pairs: a domain without answers is learnt by what a picture and a text find, each by itself."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from clplat.config.space import Choice, Float, Int
from clplat.errors import UserError
from clplat.mechanisms.queue import alike
from clplat.mechanisms.sample_weights import shares_by_certainty
from clplat.models.outputs import are_embeddings, as_outputs
from clplat.parts.losses.info_nce import info_nce
from clplat.parts.teachers._base import TeacherPart, rows_of_items, teacher_named
from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["PseudoPairs"]


class PseudoPairs(Strategy):
    """Contrast with pseudo-answers that two frozen rankers agree on, or are certain of; no label is read.

    One ranker orders the batch's candidates by the query's picture, the other by its text, both in a
    teacher's eyes, without the query's own picture. ``agreement``: a candidate is an answer where both have
    it among their ``nearest``. ``certainty``: the one of most probability in
    ``sum_m w_m p_m``, ``w = softmax_m(-H(p_m))``, for the half of the queries that is surer. Other queries
    are left out. ``loss = weight * InfoNCE(query over candidates)``.

    ``switch`` takes certainty while the rankers differ little on this domain, and agreement, the stricter
    rule, where they differ much: the `gap` is the share of the nearest that the other ranker does not have,
    over the batches of the domain so far.

    Args:
        weight: of the term, which is all that is trained on.
        fusion: ``agreement``, ``certainty`` or ``switch``.
        teacher: of any kind with features of pictures and texts, ``clplat list teachers``.
        nearest: candidates that count as found by a ranker.
        limit: gap above which ``switch`` asks for agreement.
        temperature: of the cosines.

    References:
        Simons et al. 2023 (SUMMIT), Source-Free Adaptation of Uni-Modal Models to Multi-Modal Targets, ICCV
        2023, arXiv 2308.11880.

    Numbers:
        ``gap``; ``answered``, the share of queries with an answer; ``answers``, how many each of them has.

    Needs:
        A `ComposedRetriever`. Of a query that is a picture or a text alone both rankers are the same.

    Relations:
        `SubLabel` has labels and divides them.

    Example:
        >>> from strategies import PseudoPairs
        >>> PseudoPairs(fusion="agreement").nearest
        5
    """

    any_module = False
    needs_embeddings = True
    replaces_task_loss = True
    terms = ("pseudo_pairs",)
    stores = "weights"
    shares = False  # the gap is of what this process trains on
    state = ("_differ", "_taken")

    def __init__(
        self,
        weight: Annotated[float, Float(0.25, 4.0, log=True)] = 1.0,
        fusion: Annotated[
            Literal["switch", "agreement", "certainty"], Choice("switch", "agreement", "certainty")
        ] = "switch",
        teacher: TeacherPart | None = None,
        nearest: Annotated[int, Int(1, 20, log=True)] = 5,
        limit: Annotated[float, Float(0.2, 0.9)] = 0.5,
        temperature: Annotated[float, Float(0.01, 0.2, log=True)] = 0.05,
    ) -> None:
        if not (weight >= 0 and nearest >= 1 and 0 <= limit <= 1 and temperature > 0):
            raise ValueError(
                "weight must be at least 0, nearest at least 1, limit in [0, 1] and temperature above 0, not "
                f"{weight}, {nearest}, {limit} and {temperature}"
            )
        self.weight, self.fusion, self.nearest = weight, fusion, nearest
        self.limit, self.temperature = limit, temperature
        self.teacher = teacher_named("initial" if teacher is None else teacher)
        self._differ, self._taken = [0.0, 0.0], [0.0, 0.0, 0.0]

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        if not hasattr(learner.model, "text_features"):
            raise UserError(
                "pseudo_pairs needs a ComposedRetriever as the model, to rank by pictures and texts"
            )
        self.teacher.begin(learner)
        self._differ, self._taken = [0.0, 0.0], [0.0, 0.0, 0.0]

    @property
    def gap(self) -> float:
        """How far the rankers differ on this domain, between 0 and 1; 0 before its first batch."""
        return self._differ[0] / max(self._differ[1], 1.0)

    def numbers(self) -> dict[str, float]:
        answers, answered, queries = self._taken
        shares = {"answered": answered / queries, "answers": answers / max(answered, 1.0)} if queries else {}
        return {"gap": self.gap, **shares} if self._differ[1] else shares

    def loss(self, learner: SupportsLearning, batch: Any, outputs: Any) -> dict[str, Tensor]:
        if not are_embeddings(outputs):
            raise TypeError("PseudoPairs needs embeddings of two sides, not logits")
        own: Any = as_outputs(outputs)
        rankers, valid = self._rankers(learner, batch)
        positive = self.answers(rankers, valid)
        counts = float(positive.sum()), float(positive.any(1).sum()), float(len(positive))
        self._taken = [held + new for held, new in zip(self._taken, counts, strict=True)]
        logits = own.scores(scale=own.scale)
        if not bool((positive & valid).any()):
            return {"pseudo_pairs": 0.0 * logits.sum()}  # nothing to learn here
        return {"pseudo_pairs": self.weight * info_nce(logits, positive=positive, valid=valid)}

    def _rankers(self, learner: SupportsLearning, batch: Any) -> tuple[list[Tensor], Tensor]:
        """Logits (B, C) by picture and by text, and which candidates count."""
        count, pictures = len(batch), batch.pictures.names
        shown, said = rows_of_items(self.teacher, learner, batch)
        names = [pictures[row] if row >= 0 else "" for row in batch.picture_rows]
        valid = (batch.valid & ~alike(names[:count], names[count:]).to(batch.valid.device)).to(shown.device)
        logits = [rows[:count] @ shown[count:].T / self.temperature for rows in (shown, said)]
        return [x.masked_fill(~valid & valid.any(1, keepdim=True), -torch.inf) for x in logits], valid

    def answers(self, rankers: list[Tensor], valid: Tensor) -> Tensor:
        """Which candidates are taken for answers (B, C), bool; a query may have none.

        Args:
            rankers: logits (B, C) of both, -inf where a candidate does not count.
            valid: (B, C) bool, which do.
        """
        size = min(self.nearest, valid.shape[1])
        found = [
            torch.zeros_like(valid).scatter(1, x.topk(size, dim=1).indices, True) & valid for x in rankers
        ]
        both = found[0] & found[1]
        self._differ[0] += float(found[0].sum() - both.sum())
        self._differ[1] += float(found[0].sum())
        strict = self.fusion == "agreement" or (self.fusion == "switch" and self.gap > self.limit)
        if strict:
            return both
        shares = shares_by_certainty(rankers)
        fused = (shares[..., None] * torch.stack([x.softmax(1) for x in rankers])).sum(0)
        sure, best = fused.max(1)
        return torch.zeros_like(valid).scatter(1, best[:, None], True) & (sure >= sure.median())[:, None]

    def after_step(self, learner: SupportsLearning, batch: Any, outputs: Any) -> None:
        self.teacher.follow(learner)
