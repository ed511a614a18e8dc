"""A study within a budget: all candidates are tried a little, the better half of them for longer."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["halving"]


def halving(
    count: int, steps: int, budget: int, score: Callable[[int, int], float]
) -> tuple[int, list[float]]:
    """Successive halving: the candidate with the least score, and the newest score of each.

    In round r those that are left are tried with ``2^r steps`` each, from the start; the better half of them,
    earlier ones first where they are equal, goes on, as long as the budget pays for a whole round.

    Args:
        count: of candidates, 0 to count - 1.
        steps: of a try in the first round, which is always made.
        budget: steps of all tries together.
        score: of a candidate after so many steps.

    Reference:
        Karnin et al., "Almost Optimal Exploration in Multi-Armed Bandits", ICML 2013; Jamieson and Talwalkar,
        AISTATS 2016, arXiv:1502.07943.

    Example:
        >>> tries = []
        >>> def score(candidate: int, steps: int) -> float:
        ...     tries.append((candidate, steps))
        ...     return abs(candidate - 2.2)
        >>> halving(4, steps=1, budget=8, score=score)[0], tries
        (2, [(0, 1), (1, 1), (2, 1), (3, 1), (2, 2), (3, 2)])
    """
    scores, left, spent = [0.0] * count, [*range(count)], 0
    while not spent or (len(left) > 1 and spent + steps * len(left) <= budget):
        for candidate in left:
            scores[candidate] = score(candidate, steps)
        spent += steps * len(left)
        left = sorted(left, key=scores.__getitem__)[: (len(left) + 1) // 2]
        steps *= 2
    return left[0], scores
