"""Previous: the model before this domain."""

from __future__ import annotations

from clplat.mechanisms.teacher import Teacher
from clplat.parts.teachers._base import TeacherPart

__all__ = ["Previous"]


class Previous(TeacherPart):
    """The model before this domain, as in LwF and Mod-X.

    In the first domain that is the pretrained model; of a model with random weights
    (``learner.pretrained`` is false, as it is in a loop that does not say otherwise) nothing is learnt then.

    References:
        Li & Hoiem 2016 (LwF), arXiv 1606.09282.

    Example:
        >>> Previous().moves
        False
    """

    def __init__(self) -> None:
        self._held = Teacher(which="previous")
