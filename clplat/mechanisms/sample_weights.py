"""Weights per sample: which of several teachers, which example and which pair counts, and how much."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["difficulty", "entropy", "hard_pairs", "shares_by_answer", "shares_by_certainty"]


def shares_by_answer(teachers: Sequence[Tensor], sharpness: float = 1.0) -> Tensor:
    """How much each teacher counts for each example (K, B): as far as it finds the example's answer.

    ``w_i = softmax_k(log p_k(answer of i) / sharpness)``, p_k the softmax over row i of teacher k.

    Args:
        teachers: logits (B, C) of each; column i answers row i.
        sharpness: large values average the teachers.

    References:
        Yu et al. 2023 (CreamFL), arXiv 2302.08888; Zhang et al. 2024 (MulKI), arXiv 2411.06764.

    Example:
        >>> shares_by_answer([torch.eye(2), torch.zeros(2, 2)])[:, 0]
        tensor([0.5938, 0.4062])
    """
    right = torch.arange(len(teachers[0]), device=teachers[0].device)
    wrong = torch.stack([F.cross_entropy(one.float(), right, reduction="none") for one in teachers])
    return (-wrong / sharpness).softmax(0)


def shares_by_certainty(teachers: Sequence[Tensor], temperature: float = 1.0) -> Tensor:
    """How much each teacher counts for each example (K, B): as far as it is certain of any answer.

    ``w_i = softmax_k(-H(p_k,i) / temperature)``, H the entropy of the softmax over row i of teacher k.

    Args:
        teachers: logits (B, C) of each.
        temperature: large values average the teachers.

    References:
        Simons et al. 2023 (SUMMIT), arXiv 2308.11880.

    Example:
        >>> shares_by_certainty([100 * torch.eye(2), torch.zeros(2, 2)])[:, 0]
        tensor([0.6667, 0.3333])
    """
    return (-torch.stack([entropy(one) for one in teachers]) / temperature).softmax(0)


def entropy(logits: Tensor) -> Tensor:
    """The entropy (B,) of the softmax over each row, in nats.

    Example:
        >>> entropy(torch.zeros(1, 4))
        tensor([1.3863])
    """
    log_p = logits.float().log_softmax(1)
    # What has no share adds nothing, where its logarithm is not finite.
    return -(log_p.exp() * log_p.masked_fill(log_p == -torch.inf, 0.0)).sum(1)


def difficulty(student: Tensor, teacher: Tensor) -> Tensor:
    """How much a student still has to learn of each example (B,), between 0 and 1.

    ``1 - exp(-CE_student / CE_teacher)``, CE the cross-entropy of row i with column i: near 1 where the
    teacher finds the answer and the student does not, near 0 where it is the other way round.

    Args:
        student, teacher: logits (B, C); no gradient goes through them.

    References:
        Rao et al. 2023 (DCD), arXiv 2207.01426.

    Example:
        >>> difficulty(torch.zeros(2, 2), 5 * torch.eye(2))
        tensor([1., 1.])
    """
    right = torch.arange(len(student), device=student.device)
    own, other = (F.cross_entropy(x.detach().float(), right, reduction="none") for x in (student, teacher))
    return 1 - (-own / (other + 1e-7)).exp()


def hard_pairs(teacher: Tensor, positive: Tensor, count: int) -> Tensor:
    """The right answers of each row, and the wrong ones that a teacher scores highest (B, C), bool.

    Args:
        teacher: (B, C) similarities.
        positive: (B, C) bool, the right answers.
        count: wrong ones of each row; all where there are fewer.

    Example:
        >>> hard_pairs(torch.tensor([[0.1, 0.9, 0.5]]), torch.tensor([[True, False, False]]), 1)
        tensor([[ True,  True, False]])
    """
    wrong = teacher.detach().float().masked_fill(positive, -torch.inf)
    hardest = wrong.topk(min(count, wrong.shape[1]), dim=1).indices
    found: Tensor = positive | torch.zeros_like(positive).scatter(1, hardest, True)
    return found
