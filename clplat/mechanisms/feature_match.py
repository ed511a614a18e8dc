"""Feature matching: a student's features follow a teacher's, one by one or in how they correlate."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["Match", "feature_match"]

Match = Literal["cosine", "mse", "correlation"]


def feature_match(student: Tensor, teacher: Tensor, form: Match = "cosine") -> Tensor:
    """The scalar loss of features of a student and of a teacher.

    * ``cosine``: the mean of ``1 - cos`` of the rows;
    * ``mse``: the mean squared difference of all entries;
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
    if form == "cosine":
        return 1 - (student * teacher).sum(-1).mean()
    return (student @ student.transpose(-1, -2) - teacher @ teacher.transpose(-1, -2)).square().mean()
