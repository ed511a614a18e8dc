"""Which differences between methods are real: intervals, a paired test and Holm's correction.

A *replicate* is one experiment: one method, one seed, one stream order. Between n of them and the truth stand

    s^2  = sample variance of the n scores: training, and the queries that replicates do not share
    K_rs = covariance of the scores of r and s when queries are drawn again with replacement (the bootstrap):
           jointly for replicates that asked the same queries, independently otherwise

With c = mean of K_rs over r != s (noise of shared queries; 0 if all have their own) the mean score has

    variance = s^2 / n + c,    and never below v = mean of all K_rs, what the queries alone make of it.

Nothing is counted twice: E[s^2] = training variance + mean K_rr - c. And s^2 is known from n - 1 degrees of
freedom only: the true variance may be (n - 1) s^2 / u for any u ~ chi^2(n - 1). Noise puts the mean at least
x away from the truth with

    p(x) = max( E_u P(|N(0, (n - 1) s^2 / (n u) + c)| > x),  P(|N(0, v)| > x) ).

The first term is Student's t where c = 0, the Behrens-Fisher distribution otherwise; the second is all there
is with one replicate. An interval holds every truth that p does not reject. docs/statistics.md says how well.

References:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993. Fisher, "The fiducial argument in
    statistical inference", Annals of Eugenics 6, 1935. Holm, "A simple sequentially rejective multiple test
    procedure", Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Difference", "Interval", "Replicate", "holm", "interval", "paired_difference"]

Array: TypeAlias = npt.NDArray[np.float64]
Values: TypeAlias = Mapping[str, Array]

#: Points that are no difference: sums in another order differ by less, and results have six decimals.
RESOLUTION = 1e-9


@dataclass(frozen=True)
class Replicate:
    """What one experiment measured, query by query.

    Attributes:
        values: domain -> (Q,) percentages, 0 or 100 for R@K, 0 to 100 for AP@K; Q may differ by domain.
        queries: identity of the query set, such as a digest: equal where two replicates asked the same
            queries, in the same order, of every domain.

    Raises:
        ValueError: no domains, a domain without queries, a value that is no percentage.

    Example:
        >>> Replicate({"dress": np.array([100.0, 0.0]), "shoe": np.array([100.0])}, queries="test").score
        75.0
    """

    values: Values
    queries: str

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a replicate has no domains")
        for domain, values in self.values.items():
            if np.ndim(values) != 1 or np.size(values) == 0:
                raise ValueError(f"values of '{domain}' must be (Q,) with Q > 0, not {np.shape(values)}")
            # averages in single precision overshoot 100 a little; nan fails both comparisons
            if not np.all((np.asarray(values) >= -1e-3) & (np.asarray(values) <= 100.001)):
                raise ValueError(f"values of '{domain}' must be percentages, 0 to 100")

    @property
    def score(self) -> float:
        """The unweighted mean over domains of the mean over queries, in percent."""
        return _score(self.values)


@dataclass(frozen=True)
class Interval:
    """The score of a method, in percent.

    Attributes:
        mean: over replicates.
        sd: sample standard deviation over replicates, in points; None with one replicate.
        low, high: the confidence interval of the expected score, within 0 to 100.
    """

    mean: float
    sd: float | None
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """Method a minus method b, in points.

    Attributes:
        mean: over pairs of replicates.
        low, high: the confidence interval of the expected difference, within -100 to 100.
        p: of "the expected difference is 0", two-sided; below 1 - level where the interval leaves 0 out.
    """

    mean: float
    low: float
    high: float
    p: float


def interval(
    replicates: Sequence[Replicate], *, level: float = 0.95, draws: int = 4000, generator: np.random.Generator
) -> Interval:
    """The expected score of a method, over trainings (seed, stream order) and over queries.

    One replicate says nothing about other trainings: its interval is about this model and other queries.

    Args:
        replicates: n >= 1 experiments of one method on the same domains.
        level: confidence.
        draws: how often the queries are drawn again.
        generator: of these draws.

    Raises:
        ValueError: no replicates, replicates of other domains, equal query sets of other sizes, level outside
            0 to 1, no draws.

    Example:
        >>> hits = np.repeat([100.0, 0.0], [30, 20])
        >>> one = interval([Replicate({"dress": hits}, "test")], generator=np.random.default_rng(0))
        >>> one.mean, one.sd, round(one.low), round(one.high)  # 60 +- 1.96 * 100 * sqrt(0.6 * 0.4 / 49)
        (60.0, None, 46, 74)
    """
    _check(replicates, level, draws)
    noise = _noise([r.values for r in replicates], [r.queries for r in replicates], draws, generator)
    half = noise.half_width(level)
    return Interval(noise.mean, noise.sd, max(noise.mean - half, 0.0), min(noise.mean + half, 100.0))


def paired_difference(
    a: Sequence[Replicate],
    b: Sequence[Replicate],
    *,
    level: float = 0.95,
    draws: int = 4000,
    generator: np.random.Generator,
) -> Difference:
    """Method a minus method b, from differences on the same query of the same replicate.

    One pair says nothing about other trainings: it compares two trained models, not two methods.

    Args:
        a, b: n >= 1 experiments each; a[r] and b[r] share seed, stream order and query set.
        level, draws, generator: as in `interval`.

    Raises:
        ValueError: the replicates do not pair up (their number, query sets, domains, numbers of queries), and
            what `interval` refuses.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> before = [(rng.random(200) < 0.4) * 100.0 for seed in range(3)]
        >>> after = [np.maximum(values, [100.0] * 30 + [0.0] * 170) for values in before]
        >>> a, b = ([Replicate({"dress": v}, "test") for v in values] for values in (after, before))
        >>> found = paired_difference(a, b, generator=rng)
        >>> round(found.mean, 1), found.low > 0, found.p < 0.05
        (9.3, True, True)
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} replicates do not pair up with {len(b)}")
    _check(a, level, draws)
    for r, (x, y) in enumerate(zip(a, b, strict=True)):
        if (x.queries, _sizes(x.values)) != (y.queries, _sizes(y.values)):
            what = [f"'{one.queries}' {_sizes(one.values)}" for one in (x, y)]
            raise ValueError(f"replicates {r} do not pair up: queries {what[0]} and {what[1]}")
    gaps = [{d: x.values[d] - y.values[d] for d in x.values} for x, y in zip(a, b, strict=True)]
    noise = _noise(gaps, [r.queries for r in a], draws, generator)
    half = noise.half_width(level)
    low, high = max(noise.mean - half, -100.0), min(noise.mean + half, 100.0)
    return Difference(noise.mean, low, high, noise.p(noise.mean))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values in the given order: below alpha where his test of the whole family rejects.

    Args:
        p: p-values of one family of comparisons.

    Raises:
        ValueError: a value outside 0 to 1.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    if not all(0.0 <= value <= 1.0 for value in p):
        raise ValueError(f"p-values must lie in 0 to 1, not {list(p)}")
    adjusted, largest = [0.0] * len(p), 0.0
    for done, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        largest = max(largest, min(1.0, (len(p) - done) * p[i]))
        adjusted[i] = largest
    return adjusted


@dataclass(frozen=True)
class _Noise:
    """The mean of n scores, and p(x) of the module's page."""

    mean: float
    sd: float | None
    weights: Array  # (U,) of a quadrature over u, sum 1
    variances: Array  # (U,) (n - 1) s^2 / (n u) + c
    queries: float  # v

    def p(self, gap: float) -> float:
        """P(noise alone puts the mean at least ``gap`` away from the truth)."""
        training = float(self.weights @ _erfc(abs(gap) / np.sqrt(2.0 * self.variances)))
        return max(min(training, 1.0), math.erfc(abs(gap) / math.sqrt(2.0 * self.queries)))

    def half_width(self, level: float) -> float:
        """The gap with p = 1 - level, by bisection."""
        low, high = 0.0, math.sqrt(self.queries)
        while self.p(high) > 1.0 - level:
            low, high = high, 2.0 * high
        for _ in range(30):
            middle = (low + high) / 2.0
            low, high = (middle, high) if self.p(middle) > 1.0 - level else (low, middle)
        return high


def _noise(
    values: Sequence[Values], queries: Sequence[str], draws: int, generator: np.random.Generator
) -> _Noise:
    n, scores = len(values), np.array([_score(v) for v in values])
    K = _query_covariance(values, queries, draws, generator)
    mean, v = float(scores.mean()), max(float(K.mean()), RESOLUTION**2)
    if n == 1:
        return _Noise(mean, None, np.ones(1), np.array([v]), v)
    s2 = float(scores.var(ddof=1))
    c = max(float(K.sum() - K.trace()) / (n * (n - 1)), 0.0)
    # u = z^2; equal steps in log z make the quadrature exact, far out in the tails of Student's t too
    z = np.exp(np.linspace(math.log(n) / 2.0 - 30.0 / math.sqrt(n - 1), math.log(math.sqrt(n) + 8.0), 400))
    density = np.exp((n - 1) * np.log(z / math.sqrt(n)) - z * z / 2.0 + n / 2.0)
    variances = np.maximum((n - 1) * s2 / (n * z * z) + c, RESOLUTION**2)
    return _Noise(mean, math.sqrt(s2), density / density.sum(), variances, v)


def _query_covariance(
    values: Sequence[Values], queries: Sequence[str], draws: int, generator: np.random.Generator
) -> Array:
    """K: (n, n). Domains are drawn independently of each other, so that their covariances add up."""
    domains = sorted(values[0])
    K = np.zeros((len(values), len(values)))
    for size in sorted({len(v[d]) for v in values for d in domains}):
        cells = [(r, d) for r, v in enumerate(values) for d in domains if len(v[d]) == size]
        # one set of draws serves all cells of this size: only covariances of joint draws are read
        error = _resampling_errors(np.stack([values[r][d] for r, d in cells], axis=1), draws, generator)
        covariance = error.T @ error / draws
        for i, (r, d) in enumerate(cells):
            for j, (s, e) in enumerate(cells):
                if d == e and queries[r] == queries[s]:
                    K[r, s] += covariance[i, j] / len(domains) ** 2
    return K


def _resampling_errors(columns: Array, draws: int, generator: np.random.Generator) -> Array:
    """(Q, M) values -> (draws, M): the mean of Q rows drawn with replacement, less the mean of all."""
    size = len(columns)
    if size == 1:  # tells nothing about its noise: the largest that values of -100 to 100 can have
        return np.full((draws, columns.shape[1]), 100.0)
    # a sample varies less than what it is a sample of: the usual factor of the variance
    deviations = (columns - columns.mean(axis=0)) * math.sqrt(size / (size - 1))
    even, block = np.full(size, 1.0 / size), max(1, 2_000_000 // size)  # 16 MB of counts at once
    counts = (generator.multinomial(size, even, min(block, draws - i)) for i in range(0, draws, block))
    return np.concatenate([count @ deviations for count in counts]) / size


def _check(replicates: Sequence[Replicate], level: float, draws: int) -> None:
    if not replicates:
        raise ValueError("no replicates")
    if not 0.0 < level < 1.0 or draws < 1:
        raise ValueError(f"level must lie between 0 and 1 and draws be positive, not {level} and {draws}")
    first: dict[str, Replicate] = {}
    for r, replicate in enumerate(replicates):
        if replicate.values.keys() != replicates[0].values.keys():
            raise ValueError(
                f"replicates 0 and {r} have other domains: {sorted(replicates[0].values)}, "
                f"{sorted(replicate.values)}"
            )
        same = first.setdefault(replicate.queries, replicate)
        if _sizes(replicate.values) != _sizes(same.values):
            raise ValueError(f"replicate {r} has other numbers of queries than another of '{same.queries}'")


def _score(values: Values) -> float:
    return float(np.mean([np.mean(values[domain], dtype=np.float64) for domain in sorted(values)]))


def _sizes(values: Values) -> dict[str, int]:
    return {domain: len(values[domain]) for domain in sorted(values)}


_erfc = np.vectorize(math.erfc, otypes=[np.float64])
