"""Batches of all domains together."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from clplat.data.records import Pair
from clplat.parts.samplers.by_domain import ByDomain
from clplat.parts.samplers.shuffled import Shuffled
from clplat.randomness import generator
from clplat.testing import SamplerContract


class TestShuffled(SamplerContract):
    def make(self) -> Shuffled:
        return Shuffled()


def no_model(_: Any) -> Any:
    raise AssertionError("it looks at the model")


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 60), st.integers(2, 9), st.integers(0, 99))
def test_every_row_once_and_none_alone(count: int, size: int, seed: int) -> None:
    examples = [Pair(f"{i}", "a", "b", label="", domain="ab"[i % 2]) for i in range(count)]
    batches = Shuffled().batches(examples, size, generator(seed, "test"), embed=no_model)
    assert sorted(row for batch in batches for row in batch) == list(range(count))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert 1 < len(batches[-1]) <= size + 1
    assert len(batches) == max(1, math.ceil(count / size) - (count % size == 1))


def test_domains_meet_in_a_batch() -> None:
    examples = [Pair(f"{i}", "a", "b", label="", domain="ab"[i % 2]) for i in range(64)]
    for sampler, most in ((Shuffled(), 2), (ByDomain(), 1)):
        batches = sampler.batches(examples, 16, generator(0, "test"), embed=no_model)
        assert max(len({examples[row].domain for row in batch}) for batch in batches) == most
