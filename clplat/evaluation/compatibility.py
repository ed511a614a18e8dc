"""Compatibility between model versions from the matrix C: may new queries search an old index?

``C[i][j]`` is a retrieval metric (percent) with queries by version i and the gallery as indexed by version j;
None for j > i. Version 0 is the untrained model. Index C by gallery version: where the gallery tower did not
change, C[i][j] compares two composers on the same index, which is no index upgrade.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

from torch import Tensor

__all__ = [
    "Triangle",
    "average_compatibility",
    "average_matrix",
    "backward_compatible",
    "compatibility_scores",
    "compatibility_ties",
    "flip_rates",
    "pairs",
    "price",
    "update_gain",
]

Triangle: TypeAlias = Sequence[Sequence[float | None]]


def backward_compatible(new_old: float, old_old: float) -> bool:
    """BCT's criterion ``M(new, old) > M(old, old)``: new queries do better on the old index. Strict.

    Reference:
        Shen et al., "Towards Backward-Compatible Representation Learning", CVPR 2020, arXiv:2003.11942.
    """
    return new_old > old_old


def average_compatibility(C: Triangle, *, gaps: bool = False) -> float | None:
    """AC: the share (0 to 1) of pairs of versions i > j with ``C[i][j] > C[j][j]``; None for one version.

    An exact tie does not count as compatible; ties do happen on small galleries, so read `compatibility_ties`
    beside it.

    Reference:
        Biondi et al., "CL2R: Compatible Lifelong Learning Representations", ACM TOMM 2022, arXiv:2211.09032.

    Example:
        >>> average_compatibility([[20.0, None, None], [22.0, 30.0, None], [20.0, 31.0, 40.0]])
        0.6666666666666666
    """
    known = list(_lower(C, gaps))
    return sum(backward_compatible(*pair[2:4]) for pair in known) / len(known) if known else None


def compatibility_ties(C: Triangle, *, gaps: bool = False) -> int:
    """The number of pairs i > j with ``C[i][j] == C[j][j]`` exactly."""
    return sum(new_old == old_old for _, _, new_old, old_old, _ in _lower(C, gaps))


def average_matrix(C: Triangle, *, gaps: bool = False) -> float:
    """AM: ``2 / (V (V + 1)) sum_{i>=j} C[i][j]`` for V versions: the lower triangle with its diagonal.

    Example:
        >>> average_matrix([[20.0, None], [22.0, 30.0]])
        24.0
    """
    _check(C, gaps)
    cells = [cell for i, row in enumerate(C) for cell in row[: i + 1] if cell is not None]
    return math.fsum(cells) / len(cells)


def update_gain(new_old: float, old_old: float, best_new: float) -> float | None:
    """``(C[n][o] - C[o][o]) / (C[n*][n*] - C[o][o])``: the share of the possible gain without re-indexing.

    Args:
        new_old: new queries on the old index.
        old_old: old queries on the old index.
        best_new: the new model on its own index, trained *without* compatibility (n*).

    Returns:
        None where the denominator is not above 0: there was nothing to gain.

    Example:
        >>> update_gain(new_old=25.0, old_old=20.0, best_new=40.0)
        0.25
    """
    possible = best_new - old_old
    return (new_old - old_old) / possible if possible > 0 else None


def price(new_new: float, best_new: float) -> float:
    """``C[n][n] - C[n*][n*]``: what compatibility cost the new model on its own index; below 0 is a loss."""
    return new_new - best_new


def pairs(
    C: Triangle, independent: Sequence[float | None] | None = None, *, gaps: bool = False
) -> list[dict[str, Any]]:
    """One plain dict a pair of versions ``new > old``, with both terms of every comparison.

    Args:
        C: the matrix.
        independent: C[n*][n*] of each version trained without compatibility, where known. Without it the
            update gain is None.

    Returns:
        ``new``, ``old``, ``new_old``, ``old_old``, ``new_new``, ``compatible``, ``tie``, ``update_gain`` and
        ``update_gain_own``, which measures against the run's own C[n][n] instead of n*.
    """
    out: list[dict[str, Any]] = []
    for new, old, new_old, old_old, new_new in _lower(C, gaps):
        best = independent[new] if independent is not None else None
        out.append(
            {
                "new": new,
                "old": old,
                "new_old": new_old,
                "old_old": old_old,
                "new_new": new_new,
                "compatible": backward_compatible(new_old, old_old),
                "tie": new_old == old_old,
                "update_gain": None if best is None else update_gain(new_old, old_old, best),
                "update_gain_own": update_gain(new_old, old_old, new_new),
            }
        )
    return out


def compatibility_scores(
    C: Triangle, independent: Sequence[float | None] | None = None, *, gaps: bool = False
) -> dict[str, float | None]:
    """All scores of C by name; None where undefined.

    Args:
        C: V lists; row i holds at least i + 1 percentages. A prefix ``C[:i + 1]`` gives the scores so far.
        independent: as in `pairs`.
        gaps: a cell C[i][j], j < i, may be None, as where the index of version j has another width than the
            queries of version i: the pair is left out.

    Returns:
        ``AC`` (0 to 1), ``AC_ties``, ``AM`` (percent); ``update_gain`` and ``update_gain_own``, means over
        the pairs where they are defined; ``price``, mean over the versions after 0 where n* is known.

    Raises:
        ValueError: no version, a cell that is missing or not finite, ``independent`` of another length.

    Example:
        >>> compatibility_scores([[20.0, None], [25.0, 40.0]])["update_gain_own"]
        0.25
    """
    _check(C, gaps)
    if independent is not None and len(independent) != len(C):
        raise ValueError(f"independent names {len(independent)} versions, C has {len(C)}")
    known = pairs(C, independent, gaps=gaps)
    prices = [
        price(float(C[i][i] or 0.0), best)
        for i, best in enumerate(independent or ())
        if i > 0 and best is not None
    ]
    return {
        "AC": average_compatibility(C, gaps=gaps),
        "AC_ties": compatibility_ties(C, gaps=gaps),
        "AM": average_matrix(C, gaps=gaps),
        "update_gain": _mean([pair["update_gain"] for pair in known]),
        "update_gain_own": _mean([pair["update_gain_own"] for pair in known]),
        "price": _mean(prices),
    }


def flip_rates(old_ranks: Tensor, new_ranks: Tensor, k: int) -> dict[str, float | None]:
    """Queries that an update breaks or repairs at cut-off k, in percent.

    Args:
        old_ranks: (Q,) ranks, from 0, of old queries on the old index.
        new_ranks: (Q,) ranks of the same queries after the update, on the old index or on the new one.
        k: a query is right when its rank is below k.

    Returns:
        ``NFR@k`` right before and wrong now, ``PFR@k`` wrong before and right now, both of all queries;
        ``NFR_of_right@k`` of the queries that were right, None if there were none.

    Raises:
        ValueError: the two do not rank the same queries, or there are none.

    Reference:
        Yan et al., "Positive-Congruent Training: Towards Regression-Free Model Updates", CVPR 2021,
        arXiv:2011.09161.

    Example:
        >>> import torch
        >>> flip_rates(torch.tensor([0, 0, 3, 9]), torch.tensor([0, 7, 1, 1]), k=2)
        {'NFR@2': 25.0, 'PFR@2': 50.0, 'NFR_of_right@2': 50.0}
    """
    if old_ranks.shape != new_ranks.shape or old_ranks.numel() == 0:
        shapes = f"{tuple(old_ranks.shape)} and {tuple(new_ranks.shape)}"
        raise ValueError(f"both must rank the same, at least one, queries, not {shapes}")
    old, new = old_ranks < k, new_ranks < k
    broken, repaired, right = (int(mask.sum()) for mask in (old & ~new, ~old & new, old))
    return {
        f"NFR@{k}": 100.0 * broken / old.numel(),
        f"PFR@{k}": 100.0 * repaired / old.numel(),
        f"NFR_of_right@{k}": 100.0 * broken / right if right else None,
    }


def _check(C: Triangle, gaps: bool = False) -> None:
    if not C:
        raise ValueError("C has no versions")
    for i, row in enumerate(C):
        for j in range(i + 1):
            cell = row[j] if j < len(row) else None
            if gaps and cell is None and j < i:
                continue
            if cell is None or not math.isfinite(cell):
                raise ValueError(f"C[{i}][{j}] is {cell}: the lower triangle must be complete")


def _lower(C: Triangle, gaps: bool) -> Iterator[tuple[int, int, float, float, float]]:
    """(new, old, C[new][old], C[old][old], C[new][new]) of all pairs new > old."""
    _check(C, gaps)
    for new in range(len(C)):
        for old in range(new):
            new_old, old_old, new_new = C[new][old], C[old][old], C[new][new]
            assert old_old is not None and new_new is not None
            if new_old is not None:
                yield new, old, new_old, old_old, new_new


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
