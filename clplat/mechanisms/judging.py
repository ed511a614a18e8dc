"""Candidates judged by words: propositions that hold, ratings, comparisons of two."""

from __future__ import annotations

import re

import torch
from torch import Tensor

from clplat.mechanisms.phrases import changes
from clplat.mechanisms.rewriting import in_values
from clplat.mechanisms.words import tagged

__all__ = ["agreement", "expected_level", "holds", "propositions", "said_yes", "wins"]


def propositions(text: str) -> list[tuple[str, bool]]:
    """What must be true of an answer: phrases of a modification text, and whether each shall be there.

    Example:
        >>> propositions("is red instead of blue and has much longer sleeves")
        [('red', True), ('blue', False), ('long sleeves', True)]
    """
    found = []
    for change in changes(text):
        found += [(in_values(change.added), True)] if change.added else []
        found += [(in_values(change.removed), False)] if change.removed else []
    return found


def holds(phrase: str, caption: str) -> bool:
    """Whether a caption names all that a phrase names.

    Example:
        >>> holds("a red bag", "a small bag, red"), holds("a red bag", "a blue bag")
        (True, False)
    """
    return agreement(phrase, caption) == 1.0


def agreement(wanted: str, caption: str) -> float:
    """The share of what one caption names that another one names too; 1 where it names nothing."""
    there = {word.lower for word in tagged(caption)}
    names = [word.lower for word in tagged(wanted) if word.kind not in ("function", "mark")]
    return sum(name in there for name in names) / len(names) if names else 1.0


def said_yes(answer: str) -> bool:
    """Whether an answer begins with yes.

    Example:
        >>> said_yes("Yes, it does."), said_yes("No, only eyes.")
        (True, False)
    """
    return re.match(r"\W*yes\b", answer, re.IGNORECASE) is not None


def expected_level(probabilities: Tensor) -> Tensor:
    """Soft ratings (...): the mean of levels 1, 2, ... under probabilities (..., L), which are normalised.

    Reference:
        Huang and Chen, "InstUPR: Instruction-based Unsupervised Passage Reranking with Large Language
        Models", 2024, arXiv:2403.16435.

    Example:
        >>> expected_level(torch.tensor([[0.0, 0.5, 0.5], [2.0, 0.0, 0.0]]))
        tensor([2.5000, 1.0000])
    """
    levels = torch.arange(1, probabilities.shape[-1] + 1, dtype=probabilities.dtype)
    return (probabilities * levels).sum(-1) / probabilities.sum(-1)


def wins(first: Tensor) -> Tensor:
    """Scores (Q, K) of pairwise comparisons: the sum of all probabilities to win, in both orders.

    Args:
        first: (Q, K, K), the probability that candidate i is better than j when i is shown first; the
            diagonal does not count.

    Example:
        >>> wins(torch.tensor([[[0.0, 0.9], [0.3, 0.0]]]))  # 0.9 + (1 - 0.3), 0.3 + (1 - 0.9)
        tensor([[1.6000, 0.4000]])
    """
    apart = 1.0 - torch.eye(first.shape[-1])
    return (first * apart).sum(2) + ((1.0 - first) * apart).sum(1)
