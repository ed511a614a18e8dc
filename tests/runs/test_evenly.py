"""Which training data fits what learns after the towers: some of each domain, from all of it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from clplat.runs.evenly import evenly
from clplat.runs.pairs import Taught
from clplat.testing import tiny_domains


@pytest.mark.parametrize(("many", "count"), [(0, 3), (2, 3), (5, 3), (6, 3), (100, 60), (7, 1)])
def test_some_are_spread_over_all(many: int, count: int) -> None:
    found = evenly(range(many), count)
    assert len(found) == min(many, count) and found[:1] == [*range(many)][:1]
    ends = [*found, many]
    gaps = [b - a for a, b in pairwise(ends)]
    assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)


def test_of_fewer_than_twice_the_share_the_last_ones_count_too() -> None:
    (domain,) = tiny_domains(1, train=15)
    taught = Taught.of([domain], 10)
    assert taught.queries == [domain.train[i].query for i in (0, 1, 3, 4, 6, 7, 9, 10, 12, 13)]
