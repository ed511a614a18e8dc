"""Naive: sequential fine-tuning."""

from __future__ import annotations

from clplat.training.strategy import Strategy

__all__ = ["Naive"]


class Naive(Strategy):
    """Sequential fine-tuning on each domain as it comes: the lower bound, which forgets.

    What is trained:
        What the adapter, prompt and composer declare.

    Relations:
        Every other strategy adds one idea to this one.

    Example:
        >>> from strategies import Naive
        >>> Naive().loss(None, None, None)
        {}
    """

    role = "lower bound"
