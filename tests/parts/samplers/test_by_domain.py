"""The usual sampler: shuffled batches of one domain each."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clplat.data.records import Example, Pair
from clplat.parts.samplers.by_domain import ByDomain
from clplat.randomness import generator
from clplat.testing import SamplerContract


class TestByDomain(SamplerContract):
    def make(self) -> ByDomain:
        return ByDomain()


def of(domains: list[str]) -> list[Example]:
    return [Pair(f"{i}", "a", "b", label="", domain=domain) for i, domain in enumerate(domains)]


def no_model(_: Any) -> Any:
    raise AssertionError("it looks at the model")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(2, 9), st.integers(0, 99))
def test_batches_of_one_domain(domains: list[str], size: int, seed: int) -> None:
    examples = of(domains)
    batches = ByDomain().batches(examples, size, generator(seed, "test"), embed=no_model)
    assert sorted(row for batch in batches for row in batch) == list(range(len(domains))), "every row once"
    for domain in set(domains):
        own = sorted(len(batch) for batch in batches if domains[batch[0]] == domain)
        count = domains.count(domain)
        assert all(
            {domains[row] for row in batch} == {domain} for batch in batches if domains[batch[0]] == domain
        )
        assert max(own) <= size + 1 and (min(own) > 1 or count == 1), "nobody stands alone"
        assert len(own) == max(1, math.ceil(count / size) - (count % size == 1 and count > 1))
    assert batches == ByDomain().batches(examples, size, generator(seed, "test"), embed=no_model)
