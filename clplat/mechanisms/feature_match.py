"""Feature matching: a student's features follow a teacher's, one by one or in how they correlate."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

__all__ = ["Match", "feature_match", "pooled_by"]

Match = Literal["cosine", "mse", "l1", "correlation"]


def feature_match(student: Tensor, teacher: Tensor, form: Match = "cosine") -> Tensor:
    """The scalar loss of features of a student and of a teacher.

    * ``cosine``: the mean of ``1 - cos`` of the rows;
    * ``mse``: the mean squared difference of all entries;
    * ``l1``: the mean absolute difference of the entries of unit rows;
    * ``correlation``: the mean squared difference of the cosines of all rows of one item with each other: of
      tokens, how a picture hangs together. Widths may differ.

    Args:
        student: (..., D), receives gradients; of correlations (..., N, D).
        teacher: (..., D), never receives gradients; of correlations (..., N, E).

    Raises:
        ValueError: shapes that do not fit.

    Example:
        >>> from torch import eye
        >>> feature_match(eye(2), 3 * eye(2)), feature_match(eye(2), eye(2).flip(0))
        (tensor(0.), tensor(1.))
    """
    student, teacher = student.float(), teacher.detach().float()
    last = -1 if form == "correlation" else None
    if student.shape[:last] != teacher.shape[:last]:
        raise ValueError(f"features {tuple(student.shape)} and {tuple(teacher.shape)} do not fit together")
    if form == "mse":
        return (student - teacher).square().mean()
    student, teacher = normalize(student, dim=-1), normalize(teacher, dim=-1)
    if form == "l1":
        return (student - teacher).abs().mean()
    if form == "cosine":
        return 1 - (student * teacher).sum(-1).mean()
    return (student @ student.transpose(-1, -2) - teacher @ teacher.transpose(-1, -2)).square().mean()


def pooled_by(tokens: Tensor, guide: Tensor, floor: float = 0.2) -> Tensor:
    """Patch tokens, each in the mean over the patches that look alike to another model.

    ``t_p = sum_q A_pq t_q / sum_q A_pq`` with A the cosines of the other model's tokens, 0 below ``floor``.

    Args:
        tokens: (B, N, D) of a square of patches; guide: (B, M, E), of another number too: it is averaged, or
            repeated, over the places of the N.
        floor: cosine below which two patches are not of one thing; above 0, so that no sum vanishes.

    Raises:
        ValueError: patches that make no square.

    References:
        Wysoczanska et al. 2024 (CLIP-DINOiser), arXiv 2312.12359.

    Example:
        >>> from torch import eye, ones
        >>> pooled_by(eye(4)[None], ones(1, 4, 2))[0, 0]
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """
    sides = [round(x.shape[1] ** 0.5) for x in (tokens, guide)]
    for side, x in zip(sides, (tokens, guide), strict=True):
        if side * side != x.shape[1]:
            raise ValueError(f"{x.shape[1]} patches of a picture make no square")
    if sides[0] != sides[1]:
        square = guide.float().transpose(1, 2).reshape(len(guide), -1, sides[1], sides[1])
        guide = adaptive_avg_pool2d(square, (sides[0], sides[0])).flatten(2).transpose(1, 2)
    guide = normalize(guide.float(), dim=-1)
    alike = guide @ guide.transpose(1, 2)
    alike = alike * (alike >= floor)
    return alike @ tokens.float() / alike.sum(-1, keepdim=True).clamp(min=1e-6)
