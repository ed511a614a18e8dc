"""Intervals and paired tests: against scipy where they must agree, and on drawn experiments of known truth.

``python tests/evaluation/test_significance.py [trials]`` prints the tables in docs/statistics.md.
"""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from clplat.evaluation.significance import Difference, Replicate, holm, interval, paired_differences

DOCS = Path(__file__).resolve().parents[2] / "docs" / "statistics.md"


def rng(seed: int | tuple[int, int] = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def quiet(scores, domains=("a", "b"), queries=None):
    """Replicates without query noise: every query of a domain gives the same."""
    return [
        Replicate({d: np.full(5, score + i) for i, d in enumerate(domains)}, queries or f"set {r}")
        for r, score in enumerate(scores)
    ]


def noisy(n, sizes=(60, 40, 50), shared=True, seed=0, rate=0.4):
    """n replicates of hits and misses; where the queries are shared, the same ones tend to be hard."""
    draw = rng((seed, 99))  # not the stream that draws the queries again
    hard = [draw.normal(size=(n, size)) for size in sizes]
    hard = [np.broadcast_to(h[:1], h.shape) if shared else h for h in hard]
    values = [100.0 * (h + draw.normal(size=h.shape) < np.sqrt(2) * stats.norm.ppf(rate)) for h in hard]
    return [
        Replicate({f"d{d}": v[r] for d, v in enumerate(values)}, "all" if shared else f"set {r}")
        for r in range(n)
    ]


def query_variance(values):
    """Of one score, by the textbook: domains independent, the mean of Q queries varies by s^2 / Q."""
    return sum(v.var(ddof=1) / len(v) for v in values.values()) / len(values) ** 2


def paired_difference(a, b, **options) -> Difference:
    """Of a pair that is alone."""
    (found,) = paired_differences([(a, b)], **options)
    return found


# The score, and scipy where one source of noise is all there is


def test_the_score_weighs_domains_alike():
    assert Replicate({"a": np.array([100.0, 0.0, 0.0, 100.0]), "b": np.array([0.0])}, "q").score == 25.0


scores = st.lists(st.floats(5, 90).map(lambda x: round(x, 3)), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(scores.filter(lambda x: np.std(x) > 1e-3), st.sampled_from([0.5, 0.9, 0.95, 0.999]))
def test_without_query_noise_the_interval_is_students(found, level):
    mean, sem = np.mean(found) + 0.5, stats.sem(found)
    low, high = stats.t.interval(level, len(found) - 1, mean, sem)
    mine = interval(quiet(found), level=level)
    assert mine.mean == pytest.approx(mean) and mine.sd == pytest.approx(np.std(found, ddof=1))
    assert mine.low == pytest.approx(max(low, 0), abs=1e-6)
    assert mine.high == pytest.approx(min(high, 100), abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 99), st.floats(0, 99)), min_size=2, max_size=6), st.booleans())
def test_without_query_noise_the_test_is_the_paired_t_test(pairs, shared):
    a, b = ([round(x, 3) for x in side] for side in zip(*pairs, strict=True))
    if np.std(np.subtract(a, b)) < 1e-2:
        return
    expected = stats.ttest_rel(a, b).pvalue
    name = "all" if shared else None
    found = paired_difference(quiet(a, queries=name), quiet(b, queries=name))
    assert found.p == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("sizes", [(60, 40, 50), (6, 9, 8)])
def test_one_replicate_has_the_normal_interval_over_queries(sizes):
    (one,) = noisy(1, sizes=sizes)
    found = interval([one], level=0.9)
    half = stats.norm.ppf(0.95) * np.sqrt(query_variance(one.values))
    assert found.sd is None and found.mean == one.score
    assert found.high - found.mean == pytest.approx(half, rel=0.02)
    assert found.mean - found.low == pytest.approx(half, rel=0.02)


def test_domains_are_drawn_apart_from_each_other_though_they_look_alike():
    values = noisy(1)[0].values["d0"]
    found = interval([Replicate({"a": values, "b": values}, "q")])
    half = 1.96 * np.sqrt(values.var(ddof=1) / len(values) / 2)
    assert found.high - found.mean == pytest.approx(half, rel=0.02)


def test_one_pair_has_the_normal_test_over_query_differences():
    a, b = noisy(2, rate=0.4)
    gaps = {d: a.values[d] - b.values[d] for d in a.values}
    mean, sd = np.mean([g.mean() for g in gaps.values()]), np.sqrt(query_variance(gaps))
    found = paired_difference([a], [b])
    assert found.p == pytest.approx(2 * stats.norm.sf(abs(mean) / sd), rel=0.05)


def test_both_sources_together_against_drawn_variances():
    replicates = noisy(3, seed=4)
    found = interval(replicates)
    values = [np.stack([r.values[d] for r in replicates]) for d in replicates[0].values]
    K = sum(np.cov(v) / v.shape[1] for v in values) / len(values) ** 2
    c = (K.sum() - np.trace(K)) / 6
    s2 = np.var([r.score for r in replicates], ddof=1)
    draw = rng(1)
    gaps = np.sqrt(2 * s2 / draw.chisquare(2, 400_000) / 3 + max(c, 0)) * draw.normal(size=400_000)
    assert c > 0.1 and (found.high - found.low) / 2 == pytest.approx(np.quantile(abs(gaps), 0.95), rel=0.03)


def slow_bootstrap(replicates, draws, generator):
    """The standard error of the mean score when queries are drawn again, set by set, one draw at a time."""
    means = []
    for _ in range(draws):
        rows = {}
        for r in replicates:
            for d, v in r.values.items():
                rows.setdefault((r.queries, d), generator.integers(len(v), size=len(v)))
        means.append(
            np.mean(
                [np.mean([v[rows[r.queries, d]].mean() for d, v in r.values.items()]) for r in replicates]
            )
        )
    return np.std(means)


@pytest.mark.parametrize("names", ["aa", "ab", "aab"])
def test_queries_are_drawn_jointly_where_they_are_shared(names):
    """Equal replicates have no spread: what is left is the noise of the queries, shared or not."""
    values = noisy(1)[0].values
    replicates = [Replicate(values, name) for name in names]
    found = interval(replicates)
    expected = 1.96 * slow_bootstrap(replicates, 3000, rng(1)) * np.sqrt(50 / 49)
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.05)


def test_own_queries_say_more_than_shared_ones():
    values = noisy(1)[0].values
    shared = interval([Replicate(values, "all")] * 2)
    own = interval([Replicate(values, "one"), Replicate(values, "two")])
    ratio = (shared.high - shared.low) / (own.high - own.low)
    assert ratio == pytest.approx(np.sqrt(2), rel=0.01)


def test_replicates_that_agree_by_luck_have_no_narrower_interval_than_their_queries():
    a = Replicate({"d": np.repeat([100.0, 0.0], 30)}, "one")
    b = Replicate({"d": np.repeat([0.0, 100.0], 30)}, "two")
    found = interval([a, b])
    assert found.sd == 0
    expected = 1.96 * np.sqrt(query_variance(a.values) / 2)
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.03)


# What must not matter


@pytest.mark.parametrize("shared", [True, False])
def test_the_order_of_replicates_and_domains_and_names_of_sets_do_not_matter(shared):
    a, b = noisy(4, shared=shared), noisy(4, shared=shared, seed=1, rate=0.5)
    plain = paired_difference(a, b)
    turned = paired_difference(a[::-1], b[::-1])
    other = [[Replicate(dict(reversed(r.values.items())), r.queries + "?") for r in side] for side in (a, b)]
    renamed = paired_difference(*other)
    for found in (turned, renamed):
        assert (found.mean, found.low, found.high, found.p) == pytest.approx(
            (plain.mean, plain.low, plain.high, plain.p), rel=1e-9
        )
    one, two = interval(a), interval(a[::-1])
    assert (one.mean, one.sd, one.low, one.high) == pytest.approx((two.mean, two.sd, two.low, two.high))


@pytest.mark.parametrize("shared", [True, False])
def test_swapping_the_methods_turns_the_sign(shared):
    a, b = noisy(3, shared=shared), noisy(3, shared=shared, seed=1)
    ab = paired_difference(a, b)
    ba = paired_difference(b, a)
    assert (ab.mean, ab.low, ab.high) == pytest.approx((-ba.mean, -ba.high, -ba.low))
    assert ab.p == pytest.approx(ba.p, rel=1e-12)


def test_a_constant_on_both_sides_does_not_matter():
    a, b = (
        [
            Replicate({d: 0.5 * v for d, v in r.values.items()}, r.queries)
            for r in noisy(3, seed=seed, rate=0.3 + 0.1 * seed)
        ]
        for seed in range(2)
    )
    moved = [[Replicate({d: v + 20 for d, v in r.values.items()}, r.queries) for r in s] for s in (a, b)]
    one = paired_difference(a, b)
    two = paired_difference(*moved)
    assert (one.mean, one.low, one.high, one.p) == pytest.approx((two.mean, two.low, two.high, two.p))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.booleans(), st.integers(0, 10**6), st.sampled_from([0.5, 0.9, 0.95]))
def test_the_interval_leaves_zero_out_exactly_where_p_is_small(n, shared, seed, level):
    a, b = noisy(n, shared=shared, seed=seed), noisy(n, shared=shared, seed=seed + 1, rate=0.5)
    found = paired_difference(a, b, level=level)
    assert (found.p < 1 - level) == (not found.low <= 0 <= found.high)
    assert -100 <= found.low <= found.mean <= found.high <= 100 and 0 <= found.p <= 1


def test_a_higher_level_is_wider():
    widths = [
        found.high - found.low
        for level in (0.5, 0.9, 0.95, 0.99)
        for found in [interval(noisy(4), level=level)]
    ]
    assert widths == sorted(widths) and len(set(widths)) == 4


# The edges


def test_equal_methods_do_not_differ():
    found = paired_difference(noisy(3), noisy(3))
    assert found.mean == 0 and found.p == 1
    assert (found.low, found.high) == pytest.approx((0, 0), abs=1e-6)


def test_rounding_is_no_difference():
    b = quiet([50.0, 60.0, 70.0])
    a = [Replicate({d: v + 1e-13 for d, v in r.values.items()}, r.queries) for r in b]
    assert paired_difference(a, b).p > 0.99


def test_a_difference_without_any_noise_is_certain():
    found = paired_difference(quiet([52.0, 62.0]), quiet([50.0, 60.0]))
    assert (found.mean, found.low, found.high) == pytest.approx((2, 2, 2)) and found.p < 1e-6


def test_graded_values_that_are_all_equal():
    found = interval(quiet([37.5] * 3, domains=["a"]))
    assert (found.mean, found.low, found.high) == pytest.approx((37.5,) * 3, abs=1e-6)
    assert found.sd == 0


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("size", [5, 60])
def test_no_hits_and_only_hits_have_the_end_of_wilsons_interval(n, size):
    far = 100 * 1.96**2 / (size + 1.96**2)
    none = interval([Replicate({"a": np.zeros(size)}, "all")] * n)
    every = interval([Replicate({"a": np.full(size, 100.0)}, "all")] * n)
    assert (none.low, none.high) == pytest.approx((0.0, far), rel=1e-3)
    assert (every.low, every.high) == pytest.approx((100.0 - far, 100.0), rel=1e-3)


def test_one_query_says_nothing():
    a, b = (Replicate({"d": np.array([value])}, "q") for value in (100.0, 0.0))
    found = interval([a])
    assert (found.low, found.high) == (0, 100)
    assert paired_difference([a], [b]).p > 0.05


def test_one_query_in_one_of_two_domains_widens_the_interval():
    many = noisy(1, sizes=(100,))[0].values["d0"]
    full = interval([Replicate({"a": many, "b": many}, "q")])
    poor = interval([Replicate({"a": many, "b": many[:1]}, "q")])
    assert poor.high - poor.low > 3 * (full.high - full.low)


def test_sizes_may_differ_between_domains_and_between_query_sets():
    a = Replicate({"x": noisy(1)[0].values["d0"], "y": noisy(1)[0].values["d1"]}, "one")
    b = Replicate({"y": noisy(1)[0].values["d0"], "x": noisy(1)[0].values["d1"]}, "two")
    found = interval([a, b])
    assert found.low < found.mean < found.high


def test_it_is_quick():
    for shared in (True, False):
        draw = rng()
        replicates = [
            Replicate({f"d{d}": 100 * draw.random(500) for d in range(10)}, "all" if shared else str(r))
            for r in range(5)
        ]
        times = []
        for _ in range(5):
            start = time.process_time()
            interval(replicates)
            times.append(time.process_time() - start)
        assert min(times) < 0.3, times


@pytest.mark.parametrize(
    "values, message",
    [
        ({}, "no domains"),
        ({"d": np.array([])}, "values of 'd' must be"),
        ({"d": np.zeros((2, 2))}, r"not \(2, 2\)"),
        ({"d": np.array([float("nan")])}, "'d' must be percentages"),
        ({"d": np.array([101.0])}, "percentages"),
        ({"d": np.array([-1.0])}, "percentages"),
    ],
)
def test_bad_values_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        Replicate(values, "q")


one, other = Replicate({"d": np.zeros(3)}, "q"), Replicate({"e": np.zeros(3)}, "p")
longer, renamed = Replicate({"d": np.zeros(4)}, "q"), Replicate({"d": np.zeros(3)}, "p")


@pytest.mark.parametrize(
    "a, b, message",
    [
        ([], [], "no replicates"),
        ([one], [one, one], "1 replicates do not pair up with 2"),
        ([one, one], [one, renamed], "replicates 1 do not pair up: queries 'q' .* and 'p'"),
        ([one], [longer], "replicates 0 do not pair up: .*3.*4"),
        ([one], [Replicate({"e": np.zeros(3)}, "q")], "do not pair up"),
        ([one, other], [one, other], "replicates 0 and 1 have other domains"),
        ([one, longer], [one, longer], "replicate 1 has other numbers of queries than another of 'q'"),
    ],
)
def test_replicates_that_do_not_pair_up_are_refused(a, b, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(a, b)


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_bad_levels_are_refused(level):
    with pytest.raises(ValueError, match="level"):
        interval([one], level=level)
    with pytest.raises(ValueError, match="level"):
        paired_difference([one], [one], level=level)


# Families


def test_a_single_replicate_neither_lends_nor_borrows():
    several = (noisy(3, seed=1), noisy(3, seed=2))
    single = (noisy(1, seed=3), noisy(1, seed=4))
    assert paired_differences([several, single]) == [paired_difference(*several), paired_difference(*single)]
    assert paired_differences([]) == []


# Holm


def slow_holm(p):
    """Closed testing: i is rejected where Bonferroni rejects every family that i belongs to."""
    families = [set(f) for size in range(1, len(p) + 1) for f in itertools.combinations(range(len(p)), size)]
    return [max(min(1.0, len(f) * min(p[j] for j in f)) for f in families if i in f) for i in range(len(p))]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.05, 1.0]), max_size=6))
def test_holm_is_closed_testing(p):
    adjusted = holm(p)
    assert adjusted == pytest.approx(slow_holm(p))
    order = sorted(range(len(p)), key=lambda i: p[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)
    assert all(before <= after <= 1 for before, after in zip(p, adjusted, strict=True))


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_p_value(bad):
    with pytest.raises(ValueError, match="0 to 1"):
        holm([0.5, bad])


# Drawn experiments of which the truth is known


@dataclass(frozen=True)
class World:
    """Methods whose queries are hit when ability + how hard the query is + taste + luck > 0.

    Half of the variance between queries is common to all models, a fifth to the models of a method; half of
    the training noise is common to the methods of a replicate. Domains have hit rates from 20 to 70 percent.
    """

    n: int
    domains: int
    queries: int
    sd: float  # of the score over trainings, in points
    shared: bool

    @property
    def ability(self):
        return stats.norm.ppf(np.linspace(0.2, 0.7, self.domains))

    @property
    def slope(self) -> float:
        """Points of score by unit of ability."""
        return 100 * stats.norm.pdf(self.ability).mean()

    def methods(self, gaps, generator: np.random.Generator, sds=None):
        """Replicates of methods that are some points better than the plain one, and their abilities.

        ``sds`` are those of the methods, where they differ from ``sd``.
        """

        def normal(*shape):
            return generator.normal(size=shape)

        M, D, Q, sets = len(gaps), self.domains, self.queries, 1 if self.shared else self.n
        tau = np.array(sds or [self.sd] * M)[:, None] / self.slope
        training = tau * (normal(1, self.n) + normal(M, self.n)) / np.sqrt(2)
        ability = self.ability + (np.array(gaps) / self.slope)[:, None, None] + training[:, :, None]
        hard, taste, luck = normal(1, sets, D, Q), normal(M, sets, D, Q), normal(M, self.n, D, Q)
        latent = ability[..., None] + np.sqrt(0.5) * hard + np.sqrt(0.2) * taste + np.sqrt(0.3) * luck
        found = [
            [
                Replicate(
                    {f"d{d}": 100.0 * (method[r, d] > 0) for d in range(D)}, "all" if self.shared else str(r)
                )
                for r in range(self.n)
            ]
            for method in latent
        ]
        return found, ability

    def draw(self, gap: float, generator: np.random.Generator):
        """Replicates of a and b, ``gap`` points apart; scores expected of b, and of b's trained models."""
        (a, b), ability = self.methods([gap, 0.0], generator)
        expected = 100 * stats.norm.cdf(self.ability / np.sqrt(1 + (self.sd / self.slope) ** 2)).mean()
        trained = 100 * stats.norm.cdf(ability[1]).mean()
        return a, b, expected, trained


def simulate(world: World, trials: int, seed: int) -> dict[str, float]:
    """Percent of trials: the interval covers, the test errs; mean half width of the interval in points."""
    generator = rng(seed)
    found: dict[str, list[float]] = {k: [] for k in ("covers", "covers_trained", "half", "errs")}
    for _ in range(trials):
        a, b, expected, trained = world.draw(0.0, generator)
        ours = interval(b)
        found["covers"].append(100 * (ours.low <= expected <= ours.high))
        found["covers_trained"].append(100 * (ours.low <= trained <= ours.high))
        found["half"].append((ours.high - ours.low) / 2)
        found["errs"].append(100 * (paired_difference(a, b).p < 0.05))
    return {name: float(np.mean(values)) for name, values in found.items()}


def power(world: World, gap: float, trials: int, seed: int) -> float:
    """Percent of trials in which a difference of ``gap`` points is found."""
    generator = rng(seed)
    pairs = (world.draw(gap, generator)[:2] for _ in range(trials))
    found = [paired_difference(a, b).p < 0.05 for a, b in pairs]
    return 100 * float(np.mean(found))


def family(world: World, sds, gaps, trials: int, seed: int, borrow: bool = True) -> tuple[float, float]:
    """Of sweeps with methods of these spreads and leads, all pairs compared and corrected: the percentage
    with a false "significant", and that of true differences which are found."""
    generator = rng(seed)
    pairs = list(itertools.combinations(range(len(sds)), 2))
    differ = np.array([gaps[i] != gaps[j] for i, j in pairs])
    false, found = [], []
    for _ in range(trials):
        methods, _ = world.methods(gaps, generator, sds)
        drawn = [(methods[i], methods[j]) for i, j in pairs]
        tested = paired_differences(drawn) if borrow else [paired_difference(*pair) for pair in drawn]
        real = np.array(holm([difference.p for difference in tested])) < 0.05
        false.append(100 * real[~differ].any())
        found.append(100 * real[differ].mean() if differ.any() else 0.0)
    return float(np.mean(false)), float(np.mean(found))


@pytest.mark.parametrize(
    "world",
    [
        World(2, 3, 60, sd=4.0, shared=True),
        World(3, 3, 60, sd=4.0, shared=False),
        World(5, 3, 60, sd=1.5, shared=True),
    ],
    ids=str,
)
def test_the_promises_are_kept(world):
    """Of 250 trials 95 % is found above 91, and 5 % below 9, but for one time in five hundred."""
    found = simulate(world, trials=250, seed=7)
    assert found["covers"] > 91
    assert found["errs"] < 9


def test_five_replicates_of_a_quiet_training_are_not_wasted():
    """Caution has a price; it must not be the power to see 5 points."""
    assert power(World(5, 6, 120, sd=0.0, shared=False), 5.0, trials=100, seed=3) > 85


EQUAL, LEADS = (0.0,) * 5, (0.0, 3.0, 6.0, 9.0, 12.0)
SPREADS = ((1.5,) * 5, (4.0,) * 5, (1.0, 1.0, 2.0, 2.0, 4.0), (0.5, 0.5, 0.5, 0.5, 4.0))
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "sds", [*(pytest.param(sds, marks=SLOW) for sds in SPREADS[:-1]), SPREADS[-1]], ids=str
)
def test_a_family_keeps_its_promise_though_methods_differ_in_spread(sds):
    false, _ = family(World(3, 3, 60, sd=0.0, shared=False), sds, EQUAL, trials=200, seed=1)
    assert false < 9


def test_a_family_finds_what_pairs_alone_do_not():
    world = World(3, 6, 120, sd=0.0, shared=False)
    _, borrowed = family(world, SPREADS[0], LEADS, trials=60, seed=2)
    _, alone = family(world, SPREADS[0], LEADS, trials=60, seed=2, borrow=False)
    assert borrowed > 1.5 * alone


def test_one_seed_says_nothing_about_training_noise():
    found = simulate(World(1, 3, 120, sd=6.0, shared=True), trials=250, seed=5)
    assert found["covers_trained"] > 91
    assert found["covers"] < 75


def test_the_example_of_the_page_runs():
    page = DOCS.read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    names: dict[str, object] = {}
    exec(compile(code, str(DOCS), "exec"), names)
    assert names["significant"] is True


def test_the_page_shows_promises_that_are_kept():
    """The measured table, row by row: from two runs on intervals cover and tests err as they should."""
    lines = DOCS.read_text(encoding="utf-8").split("<!-- measured -->")[1].split("<!-- /measured -->")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines.strip().splitlines()[2:]]
    assert [int(row[0]) for row in rows] == [1] * 3 + [2] * 6 + [3] * 6 + [5] * 6
    for n, _, _, covers, _, errs, _ in rows:
        if int(n) > 1:
            assert all(float(x) > 93 for x in covers.split(" / "))
            assert all(float(x) < 6 for x in errs.split(" / "))
    lines = DOCS.read_text(encoding="utf-8").split("<!-- families -->")[1].split("<!-- /families -->")[0]
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in lines.strip().splitlines()[2:]]
    assert len(rows) == 3 * len(SPREADS)
    for n, sds, false, finds, alone in rows:
        assert all(float(x) <= 5 for x in false.split(" / "))
        if int(n) > 2:
            ours, theirs = ([float(x) for x in cell.split(" / ")] for cell in (finds, alone))
            # With five runs beside a noisy method little is borrowed, and little is lost.
            beside = 0.95 if int(n) == 5 and sds.endswith("0.5, 4") else 1.0
            assert all(x > beside * y for x, y in zip(ours, theirs, strict=True))


def print_table(trials: int) -> None:
    print("| runs | training sd | queries | covers, % | half width | errs, % | finds 5 points, % |")
    print("|---|---|---|---|---|---|---|")
    seed = 0
    for n, sd, shared in itertools.product((1, 2, 3, 5), (0.0, 1.5, 4.0), (True, False)):
        if n == 1 and not shared:
            continue
        cells = []
        for domains, queries in ((3, 60), (6, 120)):
            seed += 1
            world = World(n, domains, queries, sd, shared)
            cells.append(simulate(world, trials, seed))
            cells[-1]["finds"] = power(world, 5.0, trials, 1000 + seed)
        names = ["covers", "half", "errs", "finds"]
        columns = [" / ".join(f"{cell[name]:.1f}" for cell in cells) for name in names]
        print(f"| {n} | {sd:g} | {'shared' if shared else 'own'} | {' | '.join(columns)} |", flush=True)
        if n == 1:
            print("  of this trained model:", [f"{cell['covers_trained']:.1f}" for cell in cells], flush=True)


def print_families(trials: int) -> None:
    print(
        '| runs | training sd of five methods | a false "significant", % | finds, % | pairs alone find, % |'
    )
    print("|---|---|---|---|---|")
    for n, sds in itertools.product((2, 3, 5), SPREADS):
        cells: list[list[str]] = [[], [], []]
        for domains, queries in ((3, 60), (6, 120)):
            world = World(n, domains, queries, 0.0, shared=True)
            cells[0].append(f"{family(world, sds, EQUAL, trials, seed=n)[0]:.1f}")
            cells[1].append(f"{family(world, sds, LEADS, trials, seed=n)[1]:.1f}")
            cells[2].append(f"{family(world, sds, LEADS, trials, seed=n, borrow=False)[1]:.1f}")
        texts = [" / ".join(cell) for cell in cells]
        print(f"| {n} | {', '.join(f'{sd:g}' for sd in sds)} | {' | '.join(texts)} |", flush=True)


if __name__ == "__main__":
    print_table(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    print_families(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
