"""Which differences between methods are significant: intervals, a paired test and Holm's correction.

A *replicate* is one experiment: one method, one seed, one stream order. What may stand between n of them and
the truth, the luck of training and that of the queries, is in `clplat.evaluation.noise`: from n scores with
sample variance s^2, known from d = n - 1 degrees of freedom, it gives p(x), the chance that noise alone puts
their mean at least x away from the truth. An interval holds every truth that p does not reject.

Differences of several pairs of methods are a *family*. Three replicates say little about how much one pair
varies, but the pairs of other methods say what is usual. With r = mean s^2 of those, a pair of d = n - 1 gets

    b = min(d, 2) * P * min(1, 10 (1 - P)) * min(1, r^2 / mean(s^4 / (1 + 2 / d))),
    P = P(chi^2(d) > d s^2 / r),

degrees of freedom more, s^2 <- (d s^2 + b r) / (d + b). That is a moderated t-test with a prior of at most
two degrees of freedom, times P, how many of the usual pairs vary at least as much: a method that is noisier
than the others borrows nothing, nor does a pair that is calmer than one in ten would be. The last factor says
how alike the others are, 1 where their s^2 differ by luck alone: where some are noisy, this pair may be one
of them without showing it. What shares a replicate with the pair shares its luck and says nothing: three
methods have nothing to borrow. docs/statistics.md says how well all this works.

References:
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6,
    1979. Smyth, "Linear models and empirical Bayes methods for assessing differential expression",
    Statistical Applications in Genetics and Molecular Biology 3, 2004 (the moderated t-test).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from clplat.evaluation.noise import Noise, Sample, Values, mean_of_domains


@dataclass(frozen=True)
class Replicate:
    """What one experiment measured, query by query.

    Attributes:
        values: domain -> (Q,) percentages, 0 or 100 for R@K, 0 to 100 for AP@K; Q may differ by domain.
        queries: identity of the query set, such as a digest: equal where two replicates had the same
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
        return mean_of_domains(self.values)


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


def interval(replicates: Sequence[Replicate], *, level: float = 0.95) -> Interval:
    """The expected score of a method, over trainings (seed, stream order) and over queries.

    One replicate says nothing about other trainings: its interval is about this model and other queries.

    Args:
        replicates: n >= 1 experiments of one method on the same domains.
        level: confidence.

    Raises:
        ValueError: no replicates, replicates of other domains, equal query sets of other sizes, level outside
            0 to 1.

    Example:
        >>> hits = np.repeat([100.0, 0.0], [30, 20])
        >>> one = interval([Replicate({"dress": hits}, "test")])
        >>> one.mean, one.sd, round(one.low), round(one.high)  # 60 +- 1.96 * 100 * sqrt(0.6 * 0.4 / 49)
        (60.0, None, 46, 74)
    """
    _check(replicates, level)
    sample = Sample.of([r.values for r in replicates], [r.queries for r in replicates], hits=True)
    half = Noise(sample, sample.s2, sample.n - 1).half_width(level)
    sd = math.sqrt(sample.s2) if sample.n > 1 else None
    return Interval(sample.mean, sd, max(sample.mean - half, 0.0), min(sample.mean + half, 100.0))


def paired_differences(
    pairs: Sequence[tuple[Sequence[Replicate], Sequence[Replicate]]], *, level: float = 0.95
) -> list[Difference]:
    """Method a minus method b for a family of pairs, from differences on the same query of a replicate.

    A pair of one replicate says nothing about other trainings: it compares two trained models, not methods.
    No pair differs at ``level`` that would not do so alone: where only what it borrows would tell its methods
    apart, p is that of the pair alone.

    Args:
        pairs: (a, b), n >= 1 experiments of each; a[r] and b[r] share seed, stream order and query set. The p
            of a pair that is alone is the paired t-test's; in larger families it borrows from pairs that have
            none of its `Replicate` objects.
        level: as in `interval`.

    Raises:
        ValueError: the replicates do not pair up (their number, query sets, domains, numbers of queries), and
            what `interval` refuses.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> before = [(rng.random(200) < 0.4) * 100.0 for seed in range(3)]
        >>> after = [np.maximum(values, [100.0] * 30 + [0.0] * 170) for values in before]
        >>> a, b = ([Replicate({"dress": v}, "test") for v in values] for values in (after, before))
        >>> [found] = paired_differences([(a, b)])
        >>> round(found.mean, 1), found.low > 0, found.p < 0.05
        (9.3, True, True)
    """
    samples = [_gaps(a, b, level) for a, b in pairs]
    members = [{id(replicate) for side in pair for replicate in side} for pair in pairs]
    found = []
    for mine, sample in zip(members, samples, strict=True):
        others = [s for other, s in zip(members, samples, strict=True) if s.n > 1 and not mine & other]
        alone, moderated = Noise(sample, sample.s2, sample.n - 1), _moderated(sample, others)
        half = max(alone.half_width(level), moderated.half_width(level))
        low, high = max(sample.mean - half, -100.0), min(sample.mean + half, 100.0)
        p, p_alone = moderated.p(sample.mean), alone.p(sample.mean)
        found.append(Difference(sample.mean, low, high, max(p, p_alone) if p_alone >= 1.0 - level else p))
    return found


def _moderated(sample: Sample, others: Sequence[Sample]) -> Noise:
    """With what can be borrowed of the variances of ``others``."""
    d, usual = sample.n - 1, float(np.mean([other.s2 for other in others])) if others else 0.0
    if not (d and usual):
        return Noise(sample, sample.s2, d)
    fourth = float(np.mean([other.s2**2 / (1.0 + 2.0 / (other.n - 1)) for other in others]))
    alike = min(1.0, usual**2 / fourth)
    P = float(torch.special.gammaincc(*torch.tensor([d / 2.0, d * sample.s2 / usual / 2.0]).double()))
    b = min(d, 2) * P * min(1.0, 10.0 * (1.0 - P)) * alike
    return Noise(sample, (d * sample.s2 + b * usual) / (d + b), d + b)


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


def _gaps(a: Sequence[Replicate], b: Sequence[Replicate], level: float) -> Sample:
    if len(a) != len(b):
        raise ValueError(f"{len(a)} replicates do not pair up with {len(b)}")
    _check(a, level)
    for r, (x, y) in enumerate(zip(a, b, strict=True)):
        if (x.queries, _sizes(x.values)) != (y.queries, _sizes(y.values)):
            what = [f"'{one.queries}' {_sizes(one.values)}" for one in (x, y)]
            raise ValueError(f"replicates {r} do not pair up: queries {what[0]} and {what[1]}")
    gaps = [{d: x.values[d] - y.values[d] for d in x.values} for x, y in zip(a, b, strict=True)]
    return Sample.of(gaps, [r.queries for r in a])


def _check(replicates: Sequence[Replicate], level: float) -> None:
    if not replicates:
        raise ValueError("no replicates")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
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


def _sizes(values: Values) -> dict[str, int]:
    return {domain: len(values[domain]) for domain in sorted(values)}
