"""Relation distillation: a student keeps the distribution of similarities that a teacher sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from clplat.config.space import Float

__all__ = ["Relation", "divergence", "relation_kl"]

Direction = Literal["forward", "reversed", "cross_entropy", "match"]


@dataclass(frozen=True)
class Relation:
    """The loss of two matrices of similarities, p of the teacher and q of the student, by rows or columns.

    With ``p = softmax(S_teacher / T_t)`` and ``q = softmax(S_student / T_s)`` the loss of a row is

    * ``forward``: ``KL(p || q)``;
    * ``reversed``: ``KL(q || p)``, as SDM's order;
    * ``cross_entropy``: ``-sum p log q``, the form that many papers print; forward plus a constant;
    * ``match``: the mean of ``(S_student / T_s - S_teacher / T_t)^2``, without any softmax.

    Which matrix it is, the caller decides: query x target, image x text, image x image, item x queue, item x
    prototype, item x random text.

    Args:
        axis: softmax over the columns of each row, over the rows of each column, or the mean of both losses.
        teacher_temperature: T_t; small is sharp.
        student_temperature: T_s.
        direction: which of the forms.
        wrong_rows: what becomes of rows whose largest teacher similarity is no right answer: ``kept``,
            ``dropped`` (they add 0), or ``replaced`` by the student's own row, without its gradient.
        drop_diagonal: leave out the similarity of an item to itself.
        blend: share of the right answers in p: ``blend y + (1 - blend) p`` with y even over them.
        scale_by_t2: multiply by T_t T_s, so that the gradients keep their size when temperatures change.
        reduction: mean over the rows (those that add nothing count), or their sum.

    Example:
        >>> relation = Relation(axis="row", student_temperature=0.5)
        >>> relation(torch.eye(2), 2 * torch.eye(2))
        tensor(0.)
    """

    axis: Literal["row", "column", "both"] = "both"
    teacher_temperature: Annotated[float, Float(0.01, 4.0, log=True)] = 1.0
    student_temperature: Annotated[float, Float(0.01, 4.0, log=True)] = 1.0
    direction: Direction = "forward"
    wrong_rows: Literal["kept", "dropped", "replaced"] = "kept"
    drop_diagonal: bool = False
    blend: float = 0.0
    scale_by_t2: bool = False
    reduction: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        allowed = {
            "axis": ("row", "column", "both"),
            "direction": ("forward", "reversed", "cross_entropy", "match"),
            "wrong_rows": ("kept", "dropped", "replaced"),
            "reduction": ("mean", "sum"),
        }
        for name, known in allowed.items():
            if (value := getattr(self, name)) not in known:
                last = f"'{known[-2]}' or '{known[-1]}'"
                listed = ", ".join([*(f"'{word}'" for word in known[:-2]), last])
                raise ValueError(f"{name} must be {listed}, not '{value}'")
        if not (self.teacher_temperature > 0 and self.student_temperature > 0):
            raise ValueError(
                f"temperatures must be above 0, "
                f"not {self.teacher_temperature} (teacher) and {self.student_temperature} (student)"
            )
        if not 0 <= self.blend <= 1:
            raise ValueError(f"blend must lie in [0, 1], not {self.blend}")

    def __call__(
        self,
        student: Tensor,
        teacher: Tensor,
        *,
        positive: Tensor | None = None,
        valid: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """The scalar loss of two matrices of similarities.

        Args:
            student: (B, C) similarities, receives gradients.
            teacher: (B, C) similarities of the same pairs, never receives gradients.
            positive: (B, C) bool, the right answers. Default: the diagonal.
            valid: (B, C) bool, the pairs that count. Default: all. Rows without any pair add nothing.
            weights: (B,) of the rows, and of the columns of the same number where columns are compared; other
                columns count 1. A mean divides by their sum. Default: all 1.

        Raises:
            ValueError: shapes that do not fit.
        """
        if student.ndim != 2 or student.shape != teacher.shape:
            shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
            raise ValueError(
                f"student and teacher must be similarity matrices of one shape (B, C), not {shapes}"
            )
        diagonal = torch.eye(*student.shape, dtype=torch.bool, device=student.device)
        positive = diagonal if positive is None else positive
        valid = torch.ones_like(diagonal) if valid is None else valid
        for name, mask in (("positive", positive), ("valid", valid)):
            if mask.shape != student.shape:
                raise ValueError(f"{name} must be (B, C) = {tuple(student.shape)}, not {tuple(mask.shape)}")
        if self.drop_diagonal:
            valid = valid & ~diagonal
        terms = []
        if self.axis != "column":
            terms.append(self._one_axis(student, teacher, positive, valid, weights))
        if self.axis != "row":
            terms.append(self._one_axis(student.T, teacher.T, positive.T, valid.T, weights))
        return torch.stack(terms).mean()

    def _one_axis(
        self, student: Tensor, teacher: Tensor, positive: Tensor, valid: Tensor, weights: Tensor | None
    ) -> Tensor:
        teacher, right = teacher.detach(), positive if self.wrong_rows == "dropped" else None
        if self.wrong_rows == "replaced":
            sure = _finds(teacher, positive, valid)
            teacher = torch.where(sure, teacher, student.detach().to(teacher.dtype))
        temperatures = self.student_temperature, self.teacher_temperature
        target = positive if self.blend > 0 else None
        rows = relation_kl(student, teacher, *temperatures, valid, right, self.direction, target, self.blend)
        if self.scale_by_t2:
            rows = rows * (self.teacher_temperature * self.student_temperature)
        if weights is None:
            return rows.sum() if self.reduction == "sum" else rows.mean()
        weights = torch.cat([weights, weights.new_ones(max(0, len(rows) - len(weights)))])[: len(rows)]
        total = (weights * rows).sum()
        return total if self.reduction == "sum" else total / weights.sum().clamp(min=1e-12)


def relation_kl(
    student: Tensor,
    teacher: Tensor,
    student_temperature: float | Tensor = 1.0,
    teacher_temperature: float | Tensor = 1.0,
    valid: Tensor | None = None,
    right: Tensor | None = None,
    direction: Direction = "forward",
    positive: Tensor | None = None,
    blend: float = 0.0,
) -> Tensor:
    """The core of relation distillation, by rows: ``KL(softmax(teacher / T_t) || softmax(student / T_s))``.

    Args:
        student, teacher: (B, C) similarities; the teacher is detached.
        valid: (B, C) bool; pairs that are not valid are left out of both softmaxes.
        right: (B, C) bool; rows whose largest valid teacher similarity is not ``right`` give 0.
        direction: see `Relation`.
        positive: (B, C) bool; the right answers that have the share ``blend`` of the teacher's distribution,
            evenly; a row without one keeps the teacher's alone.

    Returns:
        (B,) float32; 0 where a row has no valid pair.

    Example:
        >>> relation_kl(torch.zeros(1, 2), torch.tensor([[0.0, 100.0]]))
        tensor([0.6931])
    """
    valid = torch.ones_like(student, dtype=torch.bool) if valid is None else valid
    keep = valid.any(1, keepdim=True)
    # Rows without a valid pair keep their plain logits and are masked below: no NaN reaches a gradient.
    out = ~valid & keep
    found, wanted = student.float() / student_temperature, teacher.detach().float() / teacher_temperature
    if right is not None:
        keep = keep & _finds(teacher.detach(), right, valid)
    if direction == "match":
        squares = (found - wanted).square().masked_fill(~valid, 0.0)
        return squares.sum(1) / valid.sum(1).clamp(min=1) * keep.squeeze(1)
    log_p = wanted.masked_fill(out, -torch.inf).log_softmax(1)
    log_q = found.masked_fill(out, -torch.inf).log_softmax(1)
    if positive is not None and blend > 0:
        log_p = _blended(log_p, positive & valid, blend)
    return divergence(log_p, log_q, valid, direction) * keep.squeeze(1)


def divergence(log_p: Tensor, log_q: Tensor, valid: Tensor, direction: Direction = "forward") -> Tensor:
    """What two distributions over the valid entries of each row differ by (B,).

    Args:
        log_p, log_q: (B, C) logarithms, of the target and of what is made; of entries that are not valid
            anything.
        valid: (B, C) bool.
        direction: ``forward``, ``reversed`` or ``cross_entropy``, see `Relation`.

    Example:
        >>> half, sure = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
        >>> divergence(half, sure, torch.ones(1, 2).bool(), "reversed")
        tensor([0.3681])
    """
    log_p, log_q = log_p.masked_fill(~valid, 0.0), log_q.masked_fill(~valid, 0.0)
    if direction == "reversed":
        return (log_q.exp() * (log_q - log_p)).masked_fill(~valid, 0.0).sum(1)
    shares = log_p.exp().masked_fill(~valid, 0.0)
    return (shares * (log_p - log_q if direction == "forward" else -log_q)).sum(1)


def _finds(teacher: Tensor, right: Tensor, valid: Tensor) -> Tensor:
    """Whether the largest valid similarity of each row is right (B, 1)."""
    out = ~valid & valid.any(1, keepdim=True)
    return right.gather(1, teacher.masked_fill(out, -torch.inf).argmax(1, keepdim=True))


def _blended(log_p: Tensor, right: Tensor, share: float) -> Tensor:
    """The log of ``share y + (1 - share) p``, y even over the right answers of a row; without any, p."""
    number = right.sum(1, keepdim=True)
    mixed = share * right / number.clamp(min=1) + (1 - share) * log_p.exp()
    # What nobody gives any share has none, and its logarithm is only ever multiplied by 0.
    return torch.where(number > 0, mixed.clamp(min=1e-38).log(), log_p)
