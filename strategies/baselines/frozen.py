"""Frozen: the zero-shot model, never updated."""

from __future__ import annotations

from typing import Any

from clplat.training.strategy import Strategy, SupportsLearning

__all__ = ["Frozen"]


class Frozen(Strategy):
    """No update at all: the zero-shot model. It forgets nothing and learns nothing; the floor of every table.

    What is trained:
        Nothing. Every parameter is frozen before the first experience.

    Relations:
        `Naive` is the other end: learns everything, protects nothing.

    Example:
        >>> from strategies import Frozen
        >>> Frozen().state_dict()
        {}
    """

    role = "lower bound"
    trains = False

    def before_experience(self, learner: SupportsLearning, experience: Any) -> None:
        learner.model.requires_grad_(False)
