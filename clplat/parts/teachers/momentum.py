"""Momentum: a slower copy of the model."""

from __future__ import annotations

from typing import Annotated

from clplat.config.space import Float
from clplat.mechanisms.teacher import Teacher
from clplat.parts.teachers._base import TeacherPart

__all__ = ["Momentum"]


class Momentum(TeacherPart):
    """A copy that follows the model slowly: ``t <- decay * t + (1 - decay) * theta`` after each step.

    Args:
        decay: how slowly.

    References:
        Tarvainen & Valpola 2017 (mean teacher), arXiv 1703.01780.

    Example:
        >>> Momentum(decay=0.99).moves
        True
    """

    moves = True

    def __init__(self, decay: Annotated[float, Float(0.9, 0.9999)] = 0.999) -> None:
        self.decay = decay
        self._held = Teacher(which="momentum", decay=decay)
