"""Average: the mean of all models along the way."""

from __future__ import annotations

from typing import Annotated

from clplat.config.space import Int
from clplat.mechanisms.teacher import Teacher
from clplat.parts.teachers._base import TeacherPart

__all__ = ["Average"]


class Average(TeacherPart):
    """The mean of the model before the stream and after every so many steps, as ZSCL deploys it.

    Args:
        every: steps between two models that it takes.

    References:
        Zheng et al. 2023 (ZSCL), arXiv 2303.06628.

    Example:
        >>> Average(every=100).every
        100
    """

    moves = True

    def __init__(self, every: Annotated[int, Int(1, 1000, log=True)] = 100) -> None:
        self.every = every
        self._held = Teacher(which="average", every=every)
