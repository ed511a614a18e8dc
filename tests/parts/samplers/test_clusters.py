"""Batches of one cluster each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clplat.parts.samplers.clusters import Clusters
from clplat.parts.samplers.shuffled import clustered_batches
from clplat.randomness import generator
from clplat.testing import SamplerContract, tiny_domains


class TestClusters(SamplerContract):
    def make(self) -> Clusters:
        return Clusters(count=2)


def test_an_example_s_cluster_is_the_pair_of_its_sides() -> None:
    """Queries of even rows lie apart from those of odd rows, targets of the first half from the others."""
    examples = tiny_domains()[0].train[:16]
    queries = [example.query.key for example in examples]

    def embed(items: Sequence[Any]) -> Tensor:
        side = [row % 2 if [item.key for item in items] == queries else row // 8 for row in range(16)]
        noise = torch.randn(16, 2, generator=generator(0, "noise"))
        return torch.tensor([[5.0, 0.0], [0.0, 5.0]])[side] + 0.1 * noise

    labels = Clusters(count=2).labels(examples, generator(0, "test"), embed)
    groups = [[labels[row] for row in range(16) if (row % 2, row // 8) == pair] for pair in ((0, 0), (0, 1))]
    assert all(len({*group}) == 1 for group in groups) and len({*labels}) == 4
    batches = Clusters(count=2).batches(examples, 4, generator(0, "test"), embed)
    assert all(len({labels[row] for row in batch}) == 1 for batch in batches) and len(batches) == 4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(2, 9))
def test_full_batches_have_one_cluster_and_no_example_is_missing(clusters: list[int], size: int) -> None:
    batches = clustered_batches(clusters, size, generator(0, "test"))
    assert sorted(row for batch in batches for row in batch) == [*range(len(clusters))]
    assert all(1 < len(batch) <= size + 1 for batch in batches)
    pure = sum(len({clusters[row] for row in batch}) == 1 and len(batch) >= size for batch in batches)
    assert pure >= sum(clusters.count(cluster) // size for cluster in range(5)) - 1, "one may have a guest"


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="count must be at least 1, not 0"):
        Clusters(count=0)
