"""Relation distillation: a student keeps the distribution of similarities that a teacher sees in a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from torch import Tensor

from clplat.config.space import Float
from clplat.mechanisms.relation import Relation
from clplat.parts.losses._base import Loss

if TYPE_CHECKING:
    from clplat.data.batch import Batch
    from clplat.models.outputs import Outputs
    from clplat.progress import Progress

__all__ = ["SimilarityDistillation"]


class SimilarityDistillation(Loss):
    """KL divergence between the softmax of a teacher's and of a student's similarity matrix.

    ``KL(p || q)`` with ``p = softmax(S_teacher / T_t)``, ``q = softmax(S_student / T_s)``, along the rows,
    the columns, or the mean of both. As a `Loss` it compares the scores of a batch with those of
    ``outputs.teacher``; `compare` takes any two matrices. The mechanism, with more forms, is
    `clplat.mechanisms.relation.Relation`.

    Args:
        axis: softmax over the columns of each row, over the rows of each column, or the mean of both losses.
        teacher_temperature: T_t; small is sharp.
        student_temperature: T_s.
        mask_wrong_rows: do not learn the teacher's mistakes: where its most similar valid candidate is no
            positive, the row adds neither loss nor gradient.
        drop_diagonal: leave out the similarity of an item to itself.
        scale_by_t2: multiply by T_t T_s, so that the gradients keep their size when temperatures change.
        reduction: mean over the rows (those that add nothing count), or their sum.

    Reference:
        Ni et al., "Continual Vision-Language Representation Learning with Off-Diagonal Information" (Mod-X),
        ICML 2023, arXiv:2305.07437; Zhu et al., "CTP", ICCV 2023, arXiv:2308.07146; Zheng et al., "Preventing
        Zero-Shot Transfer Degradation in Continual Learning of Vision-Language Models" (ZSCL), ICCV 2023,
        arXiv:2303.06628; Wu et al., "TinyCLIP", ICCV 2023, arXiv:2309.12314.

    Example:
        >>> import torch
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
        self.axis, self.reduction = axis, reduction
        self.teacher_temperature, self.student_temperature = teacher_temperature, student_temperature
        self.mask_wrong_rows, self.drop_diagonal = mask_wrong_rows, drop_diagonal
        self.scale_by_t2 = scale_by_t2
        self.relation = Relation(
            axis,
            teacher_temperature,
            student_temperature,
            wrong_rows="dropped" if mask_wrong_rows else "kept",
            drop_diagonal=drop_diagonal,
            scale_by_t2=scale_by_t2,
            reduction=reduction,
        )

    def forward(self, outputs: Outputs, batch: Batch, progress: Progress) -> Tensor:
        assert outputs.teacher is not None, "similarity_distillation wants a teacher's outputs"
        return self.relation(
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
        """The scalar loss of two matrices of similarities (B, C), as `Relation` takes them."""
        return self.relation(student, teacher, positive=positive, valid=valid, weights=weights)
