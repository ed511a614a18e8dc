"""Compatibility between model versions from the matrix C: may new queries search an old index?

``C[i][j]`` is a retrieval metric (percent) with queries by version i and the gallery as indexed by version j;
None for j > i. Version 0 is the untrained model. Index C by gallery version: where the gallery tower did not
change, C[i][j] compares two composers on the same index, which is no index upgrade.

References:
    Shen et al., "Towards Backward-Compatible Representation Learning", CVPR 2020, arXiv:2003.11942 (BCT's
    criterion). Biondi et al., "CL2R: Compatible Lifelong Learning Representations", ACM TOMM 2022,
    arXiv:2211.09032 (AC, AM).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from clplat.evaluation.continual import mean_of_known


def compatibility_scores(
    C: Sequence[Sequence[float | None]], independent: Sequence[float | None] | None = None
) -> dict[str, float | None]:
    """All scores of C by name; None where undefined. Pairs are those of versions i > j.

    - ``AC``: the share (0 to 1) of pairs with ``C[i][j] > C[j][j]``: new queries do better on the old index.
      An exact tie does not count; ties do happen on small galleries, so read ``AC_ties`` beside it.
    - ``AC_ties``: the number of pairs with ``C[i][j] == C[j][j]`` exactly.
    - ``AM``: the mean of the lower triangle with its diagonal, in percent.
    - ``update_gain``: the mean over pairs of ``(C[i][j] - C[j][j]) / (C[n*][n*] - C[j][j])``, the share of
      the possible gain without re-indexing, n* being version i trained *without* compatibility. A pair with
      nothing to gain, where the denominator is not above 0, is left out.
    - ``update_gain_own``: the same, measured against the run's own C[i][i] instead of n*.
    - ``price``: the mean over versions i > 0 of ``C[i][i] - C[n*][n*]``, what compatibility cost the new
      model on its own index; below 0 is a loss.

    Args:
        C: V lists; row i holds at least i + 1 percentages. A prefix ``C[:i + 1]`` gives the scores so far.
        independent: C[n*][n*] of each version, where known.

    Raises:
        ValueError: no version, a cell that is missing or not finite, ``independent`` of another length.

    Example:
        >>> scores = compatibility_scores([[20.0, None, None], [22.0, 30.0, None], [20.0, 31.0, 40.0]])
        >>> scores["AC"], scores["AC_ties"], round(scores["update_gain_own"], 3)
        (0.6666666666666666, 1, 0.1)
    """
    cells = _triangle(C)
    if independent is not None and len(independent) != len(C):
        raise ValueError(f"independent names {len(independent)} versions, C has {len(C)}")
    best = independent or [None] * len(C)
    pairs = [(i, row[j], cells[j][j]) for i, row in enumerate(cells) for j in range(i)]
    return {
        "AC": mean_of_known(float(new > old) for _, new, old in pairs),
        "AC_ties": sum(new == old for _, new, old in pairs),
        "AM": mean_of_known(cell for row in cells for cell in row),
        "update_gain": mean_of_known(_gain(new, old, best[i]) for i, new, old in pairs),
        "update_gain_own": mean_of_known(_gain(new, old, cells[i][i]) for i, new, old in pairs),
        "price": mean_of_known(None if b is None else cells[i][i] - b for i, b in enumerate(best) if i > 0),
    }


def _gain(new: float, old: float, best: float | None) -> float | None:
    return (new - old) / (best - old) if best is not None and best > old else None


def _triangle(C: Sequence[Sequence[float | None]]) -> list[list[float]]:
    if not C:
        raise ValueError("C has no versions")
    cells: list[list[float]] = []
    for i, row in enumerate(C):
        cells.append([])
        for j in range(i + 1):
            cell = row[j] if j < len(row) else None
            if cell is None or not math.isfinite(cell):
                raise ValueError(f"C[{i}][{j}] is {cell}: the lower triangle must be complete")
            cells[i].append(cell)
    return cells
