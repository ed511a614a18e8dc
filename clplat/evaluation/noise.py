"""How far the mean of a few scores may be from the truth: the luck of training and that of the queries.

Between n scores and the truth stand

    s^2  = sample variance of the n scores: training, and the queries that replicates do not share
    K_rs = covariance of the scores of r and s when queries are drawn again with replacement, infinitely often
           (the bootstrap, which needs no draws for a mean: K is the covariance of the queries' values / Q):
           jointly for replicates with the same queries, independently otherwise

With c = mean of K_rs over r != s (noise of shared queries; 0 if all have their own) the mean score has

    variance = s^2 / n + c,    and never below v = mean of all K_rs, what the queries alone make of it.

Nothing is counted twice: E[s^2] = training variance + mean K_rr - c. And s^2 is known from d = n - 1 degrees
of freedom only: the true variance may be d s^2 / u for any u ~ chi^2(d). Noise puts the mean at least x away
from the truth with

    p(x) = max( E_u P(|N(0, d s^2 / (n u) + c)| > x),  P(|N(0, v)| > x) ).

The first term is Student's t where c = 0, the Behrens-Fisher distribution otherwise; the second is all there
is with one score.

References:
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993. Fisher, "The fiducial argument in
    statistical inference", Annals of Eugenics 6, 1935. Wilson, "Probable inference, the law of succession,
    and statistical inference", Journal of the American Statistical Association 22, 1927.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Array: TypeAlias = npt.NDArray[np.float64]
Values: TypeAlias = Mapping[str, Array]

#: Points that are no difference: sums in another order differ by less, and results have six decimals.
RESOLUTION = 1e-9


def mean_of_domains(values: Values) -> float:
    """The unweighted mean over domains of the mean over queries."""
    return float(np.mean([np.mean(values[domain], dtype=np.float64) for domain in sorted(values)]))


@dataclass(frozen=True)
class Sample:
    """n scores and the covariance K (n, n) that the choice of queries gives them."""

    scores: Array
    K: Array

    @classmethod
    def of(cls, values: Sequence[Values], queries: Sequence[str], *, hits: bool = False) -> Sample:
        """From n times domain -> (Q,) values, equal ``queries`` where they were the same.

        Domains are drawn independently of each other, so that their covariances add up. With ``hits``,
        no hits, and only hits, have the noise of Wilson's interval, though they show none.
        """
        domains = sorted(values[0])
        K = np.zeros((len(values), len(values)))
        for name in dict.fromkeys(queries):
            same = [r for r, other in enumerate(queries) if other == name]
            for domain in domains:
                rows = np.stack([values[r][domain] for r in same])
                alike = np.where(_alike(rows), _wilson(rows.shape[1]), 0.0) if hits else np.zeros(len(same))
                K[np.ix_(same, same)] += _of_means(rows) + np.outer(alike, alike)
        return cls(np.array([mean_of_domains(v) for v in values]), K / len(domains) ** 2)

    @property
    def n(self) -> int:
        return len(self.scores)

    @property
    def mean(self) -> float:
        return float(self.scores.mean())

    @property
    def s2(self) -> float:
        return float(self.scores.var(ddof=1)) if self.n > 1 else 0.0


class Noise:
    """p(x) of the module's page.

    Three trainings scored 50, 52 and 54 on the same 100 queries of one domain, whose values alone would make
    a mean vary by K_rs = 4, alike for all three:

        s^2 = 4, d = 2, c = 4          variance of the mean = d s^2 / (n u) + c = 8 / (3 u) + 4
        u = 2, as usual                4 / 3 + 4 = 5.3, so that 52 is 2.3 points from the truth
        u = .1, one case in twenty     27 + 4 = 31, 5.5 points: three trainings that agree by luck

    ``weights`` holds the chance of each of 400 such u, ``variances`` what it makes of the mean: p(x) is a
    weighted sum of tails of normal distributions.

    Args:
        sample: n scores and their K.
        s2: their variance, its own or a family's.
        known: degrees of freedom d that s2 is known from; 0 of one score.

    Example:
        >>> noise = Noise(Sample(np.array([50.0, 52.0, 54.0]), np.full((3, 3), 4.0)), s2=4.0, known=2)
        >>> round(noise.half_width(0.95), 1), round(1.96 * math.sqrt(4 / 3 + 4), 1)  # were s^2 the truth
        (6.2, 4.5)
    """

    def __init__(self, sample: Sample, s2: float, known: float) -> None:
        n, K = sample.n, sample.K
        self.queries = max(float(K.mean()), RESOLUTION**2)  # v
        self.weights, self.variances = np.ones(1), np.array([self.queries])
        if known == 0:
            return
        c = max(float(K.sum() - K.trace()) / (n * (n - 1)), 0.0)
        # u = z^2; equal steps in log z make the quadrature exact, far out in the tails of Student's t too
        top = math.sqrt(known + 1)
        z = np.exp(np.linspace(math.log(top) - 30.0 / math.sqrt(known), math.log(top + 8.0), 400))
        density = np.exp(known * np.log(z / top) - z * z / 2.0 + top * top / 2.0)
        self.weights = density / density.sum()
        self.variances = np.maximum(known * s2 / (n * z * z) + c, RESOLUTION**2)

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


def _of_means(rows: Array) -> Array:
    """(M, Q) values -> (M, M): covariance of their means over Q queries that are drawn again."""
    if rows.shape[1] == 1:  # its noise is unknown: the largest that values of -100 to 100 can have
        return np.full((len(rows), len(rows)), 100.0**2)
    # divided by Q - 1: a sample varies less than what it is a sample of
    found: Array = np.atleast_2d(np.cov(rows)) / rows.shape[1]
    return found


def _alike(rows: Array) -> npt.NDArray[np.bool_]:
    """(M, Q) -> (M,): whether all are misses, or all hits, of more than one query."""
    found: npt.NDArray[np.bool_] = ((rows == 0.0).all(axis=1) | (rows == 100.0).all(axis=1)) & (
        rows.shape[1] > 1
    )
    return found


def _wilson(queries: int) -> float:
    """Standard deviation of no hits, or only hits: 1.96 of it reach the end of Wilson's interval."""
    return 100.0 * 1.96 / (queries + 1.96**2)


def _erfc(x: Array) -> Array:
    found: Array = torch.erfc(torch.from_numpy(x)).numpy()
    return found
