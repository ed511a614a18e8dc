"""Continual-learning scores from the matrix R: every convention is a function of its own name.

``R[i][j]`` is the metric (percent) on domain j after i experiences; row 0 is the untrained model. Domains are
trained in order: domain j during experience j + 1. In the formulas below T is the number of experiences
trained, and ``A[t][j] = R[t + 1][j]``, t = 0..T-1, is the matrix without row 0.

**A prefix.** After T of N experiences, every score is that of the stream cut off there: only the first T
domains count, so R is row 0 and a T x T square. Scores that need more experiences than there are give None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

__all__ = [
    "Matrix",
    "acc_all",
    "acc_incremental",
    "acc_last",
    "backward",
    "bwt",
    "continual_scores",
    "forgetting_first",
    "forgetting_max",
    "forward",
    "fwt_init",
    "plasticity",
    "score_rows",
    "transfer",
    "transfer_rows",
    "zs_drop",
    "zs_lost",
    "zs_retention",
]

Matrix: TypeAlias = Sequence[Sequence[float]]


def acc_last(R: Matrix) -> float | None:
    """``mean_j A[T-1][j]``: the last model on the domains seen (MTIL "Last", macro average accuracy).

    Example:
        >>> acc_last([[10.0, 20.0], [50.0, 25.0], [40.0, 60.0]])
        50.0
    """
    _, A = _square(R)
    return _mean(A[-1]) if A else None


def acc_all(R: Matrix) -> float | None:
    """``mean_{t,j} A[t][j]`` over all T x T cells, those not yet trained included (MTIL "Avg")."""
    _, A = _square(R)
    return _mean(cell for row in A for cell in row)


def acc_incremental(R: Matrix) -> float | None:
    """``mean_t mean_{j<=t} A[t][j]``: the mean over time of the accuracy on what was seen until then."""
    _, A = _square(R)
    return _mean(_mean(row[: t + 1]) for t, row in enumerate(A))


def transfer(R: Matrix) -> float | None:
    """``mean_{j>=1} mean_{t<j} A[t][j]``: MTIL Transfer, column first, row 0 of R and domain 0 left out.

    Reference:
        Zheng et al., "Preventing Zero-Shot Transfer Degradation in Continual Learning of Vision-Language
        Models", ICCV 2023, arXiv:2303.06628.
    """
    _, A = _square(R)
    return _mean(_mean(A[t][j] for t in range(j)) for j in range(1, len(A)))


def transfer_rows(R: Matrix) -> float | None:
    """``mean_{t<T-1} mean_{j>t} A[t][j]``: row first (Mammoth "AVG Transfer"); not the same as `transfer`."""
    _, A = _square(R)
    return _mean(_mean(row[t + 1 :]) for t, row in enumerate(A[:-1]))


def bwt(R: Matrix) -> float | None:
    """``1/(T-1) sum_{j<T-1} (A[T-1][j] - A[j][j])``: backward transfer; below 0 is forgetting.

    Reference:
        Lopez-Paz and Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017,
        arXiv:1706.08840.
    """
    _, A = _square(R)
    return _mean(A[-1][j] - A[j][j] for j in range(len(A) - 1))


def fwt_init(R: Matrix) -> float | None:
    """``1/(T-1) sum_{j>=1} (A[j-1][j] - R[0][j])``: what earlier domains gave to j before it was trained."""
    zero_shot, A = _square(R)
    return _mean(A[j - 1][j] - zero_shot[j] for j in range(1, len(A)))


def forgetting_first(R: Matrix) -> float | None:
    """``mean_{j<T-1} (A[j][j] - A[T-1][j])``: just trained against now (Avalanche); equals -bwt."""
    _, A = _square(R)
    return _mean(A[j][j] - A[-1][j] for j in range(len(A) - 1))


def forgetting_max(R: Matrix) -> float | None:
    """``1/(T-1) sum_{j<T-1} (max_{t>=j} A[t][j] - A[T-1][j])``: best since its training against now.

    The maximum runs over the versions that were trained on j, the last included, so that it is never below 0.
    What a model knew of j before it was trained on j cannot be forgotten of that training: see `zs_lost`.

    Reference:
        Chaudhry et al., "Riemannian Walk for Incremental Learning", ECCV 2018, arXiv:1801.10112.

    Example:
        >>> forgetting_max([[90.0, 20.0], [50.0, 80.0], [40.0, 60.0]])
        10.0
    """
    _, A = _square(R)
    return _mean(max(row[j] for row in A[j:]) - A[-1][j] for j in range(len(A) - 1))


def zs_lost(R: Matrix) -> float | None:
    """``1/T sum_{j<T} max(0, max_{i<=j} R[i][j] - A[T-1][j])``: zero-shot skill on the stream that is gone.

    The maximum runs over the untrained model and all others before training on j: what they knew of j, they
    knew without having seen it. `zs_drop` is about data outside the stream.

    Example:
        >>> zs_lost([[90.0, 20.0], [50.0, 80.0], [40.0, 60.0]])  # (90 - 40 + 80 - 60) / 2
        35.0
    """
    _, A = _square(R)
    return _mean(max(0.0, max(R[i][j] for i in range(j + 1)) - A[-1][j]) for j in range(len(A)))


def plasticity(R: Matrix) -> float | None:
    """``mean_j A[j][j]``: each domain just after its training (TiC-CLIP "in-domain")."""
    _, A = _square(R)
    return _mean(A[j][j] for j in range(len(A)))


def backward(R: Matrix) -> float | None:
    """Mean of all cells below the diagonal of A, ``j < t``: earlier domains (TiC-CLIP "backward").

    Reference:
        Garg et al., "TiC-CLIP: Continual Training of CLIP Models", ICLR 2024, arXiv:2310.16226.
    """
    _, A = _square(R)
    return _mean(cell for t, row in enumerate(A) for cell in row[:t])


def forward(R: Matrix) -> float | None:
    """Mean of all cells above the diagonal of A, ``j > t``: domains still to come (TiC-CLIP "forward")."""
    _, A = _square(R)
    return _mean(cell for t, row in enumerate(A) for cell in row[t + 1 :])


_SCORES: tuple[Callable[[Matrix], float | None], ...] = (
    acc_last,
    acc_all,
    acc_incremental,
    transfer,
    transfer_rows,
    bwt,
    fwt_init,
    forgetting_first,
    forgetting_max,
    zs_lost,
    plasticity,
    backward,
    forward,
)


def continual_scores(R: Matrix) -> dict[str, float | None]:
    """Every score of this module that derives from R, by name; None where it is undefined.

    Args:
        R: T + 1 rows of N percentages, T <= N.

    Raises:
        ValueError: rows of different lengths, more experiences than domains, a value that is not finite.

    Example:
        >>> continual_scores([[10.0, 20.0], [50.0, 25.0], [40.0, 60.0]])["bwt"]
        -10.0
    """
    return {score.__name__: score(R) for score in _SCORES}


def score_rows(R: Matrix) -> list[dict[str, float | None]]:
    """`continual_scores` after 0, 1, ..., T experiences: one dict a row of R."""
    return [continual_scores(R[: i + 1]) for i in range(len(R))]


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


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
