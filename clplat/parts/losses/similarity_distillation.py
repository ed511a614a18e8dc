"""Relation distillation: a student keeps the distribution of similarities that a teacher sees in a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from torch import Tensor

from clplat.config.space import Float
from clplat.parts.losses._base import Loss

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.progress import Progress

__all__ = ["SimilarityDistillation", "relation_kl"]


class SimilarityDistillation(Loss):
    """KL divergence between the softmax of a teacher's and of a student's similarity matrix.

    ``KL(p || q)`` with ``p = softmax(S_teacher / T_t)``, ``q = softmax(S_student / T_s)``, along the rows,
    the columns, or the mean of both. As a `Loss` it compares the scores of a batch with those of
    ``outputs.teacher``; with `compare` the caller decides which matrix it is: query x target, image x text,
    image x image, item x queue. The cross-entropy form that some papers print differs by a constant and has
    the same gradients.

    Published systems are settings:

    * Mod-X: ``axis="both", mask_wrong_rows=True, reduction="sum"`` on the cosines of the batch; teacher: the
      previous experience; weight 0.1.
    * CTP: ``axis="both"`` on image x text, ``axis="row", drop_diagonal=True`` on image x image and on
      text x text; teacher: the previous experience.
    * ZSCL: ``axis="both", teacher_temperature=2, student_temperature=2, scale_by_t2=True`` on the logits of
      reference images x reference texts; teacher: the initial model; weight 2, as it adds the two axes.
    * COMODO: ``axis="row", teacher_temperature=0.1, student_temperature=0.05`` on item x queue.
    * TinyCLIP: ``axis="both"`` on logits, each model's cosines times its own logit scale.

    Args:
        axis: softmax over the columns of each row, over the rows of each column, or the mean of both losses.
        teacher_temperature: T_t; small is sharp.
        student_temperature: T_s.
        mask_wrong_rows: do not learn the teacher's mistakes: where its most similar valid candidate is no
            positive, the student's own (detached) distribution is the target, which adds neither loss nor
            gradient.
        drop_diagonal: leave out the similarity of an item to itself.
        scale_by_t2: multiply by T_t T_s, so that the gradients keep their size when temperatures change.
        reduction: mean over the rows (those that add nothing count), or their sum.

    Reference:
        Ni et al., "Continual Vision-Language Representation Learning with Off-Diagonal Information" (Mod-X),
        ICML 2023, arXiv:2305.07437; Zhu et al., "CTP", ICCV 2023, arXiv:2308.07146; Zheng et al., "Preventing
        Zero-Shot Transfer Degradation in Continual Learning of Vision-Language Models" (ZSCL), ICCV 2023,
        arXiv:2303.06628; Wu et al., "TinyCLIP", ICCV 2023, arXiv:2309.12314.

    Example:
        >>> distil = SimilarityDistillation(axis="row", student_temperature=0.5)
        >>> distil.compare(student=torch.eye(2), teacher=2 * torch.eye(2))
        tensor(0.)
    """

    wants = frozenset({"teacher"})

    def __init__(
        self,
        axis: Literal["row", "column", "both"] = "both",
        teacher_temperature: Annotated[float, Float(0.01, 4.0, log=True)] = 1.0,
        student_temperature: Annotated[float, Float(0.01, 4.0, log=True)] = 1.0,
        mask_wrong_rows: bool = False,
        drop_diagonal: bool = False,
        scale_by_t2: bool = False,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__()
        if axis not in ("row", "column", "both"):
            raise ValueError(f"axis must be 'row', 'column' or 'both', not '{axis}'")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', not '{reduction}'")
        if not (teacher_temperature > 0 and student_temperature > 0):
            raise ValueError(
                f"temperatures must be above 0, "
                f"not {teacher_temperature} (teacher) and {student_temperature} (student)"
            )
        self.axis = axis
        self.teacher_temperature = teacher_temperature
        self.student_temperature = student_temperature
        self.mask_wrong_rows = mask_wrong_rows
        self.drop_diagonal = drop_diagonal
        self.scale_by_t2 = scale_by_t2
        self.reduction = reduction

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        assert outputs.teacher is not None, "similarity_distillation wants a teacher's outputs"
        return self.compare(
            outputs.scores(), outputs.teacher.scores(), positive=batch.positive, weights=batch.weights
        )

    def compare(
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
            positive: (B, C) bool, for ``mask_wrong_rows``. Default: the diagonal.
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
        rows = relation_kl(
            student,
            teacher,
            self.student_temperature,
            self.teacher_temperature,
            valid,
            right=positive if self.mask_wrong_rows else None,
        )
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
    student_temperature: float = 1.0,
    teacher_temperature: float = 1.0,
    valid: Tensor | None = None,
    right: Tensor | None = None,
) -> Tensor:
    """The core of relation distillation, by rows: ``KL(softmax(teacher / T_t) || softmax(student / T_s))``.

    Args:
        student, teacher: (B, C) similarities; the teacher is detached.
        valid: (B, C) bool; pairs that are not valid are left out of both softmaxes.
        right: (B, C) bool; rows whose largest valid teacher similarity is not ``right`` give 0.

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
    log_p = (teacher.detach().float() / teacher_temperature).masked_fill(out, -torch.inf).log_softmax(1)
    log_q = (student.float() / student_temperature).masked_fill(out, -torch.inf).log_softmax(1)
    if right is not None:
        choice = teacher.detach().masked_fill(out, -torch.inf).argmax(1, keepdim=True)
        keep = keep & right.gather(1, choice)
    difference = log_p.masked_fill(~valid, 0.0) - log_q.masked_fill(~valid, 0.0)
    return (log_p.exp() * difference).sum(1) * keep.squeeze(1)
