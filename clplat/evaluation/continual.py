"""Continual-learning scores from the matrix R: every convention has a name of its own.

``R[i][j]`` is the metric (percent) on domain j after i experiences; row 0 is the untrained model. Domains are
trained in order: domain j during experience j + 1. In the formulas below T is the number of experiences
trained, and ``A[t][j] = R[t + 1][j]``, t = 0..T-1, is the matrix without row 0.

**A prefix.** After T of N experiences, every score is that of the stream cut off there: only the first T
domains count, so R is row 0 and a T x T square. Scores that need more experiences than there are give None.

References:
    Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, arXiv:1706.08840
    (bwt). Zheng et al., "Preventing Zero-Shot Transfer Degradation in Continual Learning of Vision-Language
    Models", ICCV 2023, arXiv:2303.06628 (MTIL). Garg et al., "TiC-CLIP: Continual Training of CLIP Models",
    ICLR 2024, arXiv:2310.16226.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeAlias

Matrix: TypeAlias = Sequence[Sequence[float]]


def continual_scores(R: Matrix) -> dict[str, float | None]:
    """Every score that derives from R, by name; None where it is undefined.

    - ``acc_last``: ``mean_j A[T-1][j]``, the last model on the domains seen (MTIL "Last", macro average).
    - ``acc_all``: ``mean_{t,j} A[t][j]``, all T x T cells, those not yet trained included (MTIL "Avg").
    - ``acc_incremental``: ``mean_t mean_{j<=t} A[t][j]``, the mean over time of what was seen until then.
    - ``transfer``: ``mean_{j>=1} mean_{t<j} A[t][j]``, column first, without row 0 of R (MTIL "Transfer").
    - ``transfer_rows``: ``mean_{t<T-1} mean_{j>t} A[t][j]``, row first (Mammoth "AVG Transfer").
    - ``bwt``: ``mean_{j<T-1} (A[T-1][j] - A[j][j])``, backward transfer; below 0 is forgetting.
    - ``fwt_init``: ``mean_{j>=1} (A[j-1][j] - R[0][j])``, what earlier domains gave to j before its training.
    - ``forgetting_first``: ``mean_{j<T-1} (A[j][j] - A[T-1][j])``, just trained against now (Avalanche).
    - ``forgetting_max``: ``mean_{j<T-1} (max_t A[t][j] - A[T-1][j])``, best ever against now, never below 0.
      The maximum runs over all trained rows, those before j was trained included (Mammoth, PyCIL). Row 0 of
      R is left out: `zs_drop` measures the loss against zero-shot.
    - ``plasticity``: ``mean_j A[j][j]``, each domain just after its training (TiC-CLIP "in-domain").
    - ``backward``: the mean of all ``A[t][j]`` with ``j < t``, earlier domains (TiC-CLIP).
    - ``forward``: the mean of all ``A[t][j]`` with ``j > t``, domains still to come (TiC-CLIP).

    Args:
        R: T + 1 rows of N percentages, T <= N.

    Raises:
        ValueError: rows of different lengths, more experiences than domains, a value that is not finite.

    Example:
        >>> continual_scores([[10.0, 20.0], [50.0, 25.0], [40.0, 60.0]])["bwt"]
        -10.0
    """
    untrained, A = _square(R)
    T, last = len(A), A[-1] if A else []
    return {
        "acc_last": mean_of_known(last),
        "acc_all": mean_of_known(cell for row in A for cell in row),
        "acc_incremental": mean_of_known(mean_of_known(row[: t + 1]) for t, row in enumerate(A)),
        "transfer": mean_of_known(mean_of_known(A[t][j] for t in range(j)) for j in range(1, T)),
        "transfer_rows": mean_of_known(mean_of_known(row[t + 1 :]) for t, row in enumerate(A[:-1])),
        "bwt": mean_of_known(last[j] - A[j][j] for j in range(T - 1)),
        "fwt_init": mean_of_known(A[j - 1][j] - untrained[j] for j in range(1, T)),
        "forgetting_first": mean_of_known(A[j][j] - last[j] for j in range(T - 1)),
        "forgetting_max": mean_of_known(max(row[j] for row in A) - last[j] for j in range(T - 1)),
        "plasticity": mean_of_known(A[j][j] for j in range(T)),
        "backward": mean_of_known(cell for t, row in enumerate(A) for cell in row[:t]),
        "forward": mean_of_known(cell for t, row in enumerate(A) for cell in row[t + 1 :]),
    }


def zs_drop(values: Sequence[float]) -> float | None:
    """``v_0 - v_T``: percentage points that a zero-shot probe lost against the untrained model.

    Args:
        values: one value per row of R, ``values[0]`` of the untrained model. Average several probes first.

    Example:
        >>> zs_drop([60.0, 58.0, 57.0])
        3.0
    """
    return values[0] - values[-1] if values else None


def zs_retention(values: Sequence[float]) -> float | None:
    """``100 v_T / v_0``: the share in percent that is left; None where v_0 is 0.

    Example:
        >>> zs_retention([60.0, 58.0, 57.0])
        95.0
    """
    return 100.0 * values[-1] / values[0] if values and values[0] != 0 else None


def _square(R: Matrix) -> tuple[list[float], list[list[float]]]:
    """(row 0, A) of the stream cut off after the experiences that R has rows for."""
    trained = len(R) - 1
    if trained < 0:
        raise ValueError("R has no rows: row 0 is the untrained model")
    if len({len(row) for row in R}) > 1:
        raise ValueError(f"the rows of R have different lengths: {[len(row) for row in R]}")
    if trained > len(R[0]):
        raise ValueError(f"R has {trained} trained rows for {len(R[0])} domains: each domain is trained once")
    for i, row in enumerate(R):
        for j, cell in enumerate(row):
            if not math.isfinite(cell):
                raise ValueError(f"R[{i}][{j}] is {cell}")
    return list(R[0][:trained]), [list(row[:trained]) for row in R[1:]]


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """The mean of what is not None; None where nothing is left."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
