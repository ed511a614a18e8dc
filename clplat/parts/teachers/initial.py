"""Initial: the model before the stream."""

from __future__ import annotations

from clplat.mechanisms.teacher import Teacher
from clplat.parts.teachers._base import TeacherPart

__all__ = ["Initial"]


class Initial(TeacherPart):
    """The model before the stream: what was pretrained, as in ZSCL.

    References:
        Zheng et al. 2023 (ZSCL), arXiv 2303.06628.

    Example:
        >>> Initial().bytes()
        0
    """

    def __init__(self) -> None:
        self._held = Teacher(which="initial")
