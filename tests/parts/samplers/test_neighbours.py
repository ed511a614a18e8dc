"""Batches of what the model finds alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from clplat.data.records import Example
from clplat.parts.adapters.full import Full
from clplat.parts.samplers.neighbours import Neighbours
from clplat.randomness import generator
from clplat.testing import SamplerContract, tiny_domains, tiny_retriever
from clplat.testing.runs import tiny_stream, tiny_trainer
from clplat.training.strategy import Strategy


class TestNeighbours(SamplerContract):
    def make(self) -> Neighbours:
        return Neighbours()


def circle(count: int) -> tuple[list[Example], Any]:
    """Examples whose targets lie on a circle in their order."""
    examples = [example for domain in tiny_domains() for example in domain.train][:count]
    angles = torch.arange(count) * (6.0 / count)
    embedded = torch.stack([angles.cos(), angles.sin()], dim=1)

    def embed(items: Sequence[Any]) -> Tensor:
        assert [item.key for item in items] == [example.target.key for example in examples]
        return 3.0 * embedded

    return examples, embed


def test_a_neighbourhood_is_the_nearest_that_are_left() -> None:
    """Against the rule, one example at a time."""
    examples, embed = circle(24)
    batches = Neighbours(near=3).batches(examples, 6, generator(0, "test"), embed)
    place = embed([example.target for example in examples]).double()
    order = torch.randperm(24, generator=generator(0, "test")).tolist()
    left, found = set(range(24)), []
    for row in order:
        if row not in left:
            continue
        near = sorted(left, key=lambda other: (other != row, float((place[row] - place[other]).norm())))
        found += near[:3]
        left -= set(near[:3])
    assert sorted(map(sorted, batches)) == sorted(sorted(found[i : i + 6]) for i in range(0, 24, 6))


def test_its_look_at_the_model_is_counted_as_training() -> None:
    flops = []
    for sampler in (None, Neighbours()):
        trainer = tiny_trainer(Strategy(), tiny_retriever(Full(last=1)), sampler=sampler)
        trainer.train(tiny_stream()[0], eval_streams=[])
        flops.append(trainer.flops)
    assert flops[1] > 1.05 * flops[0]


def test_a_wrong_size_is_refused() -> None:
    with pytest.raises(ValueError, match="near must be at least 1, not 0"):
        Neighbours(near=0)
