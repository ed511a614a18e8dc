"""A composer that grows with every domain: what is old stays."""

from __future__ import annotations

import pytest
import torch

from clplat.errors import UserError
from clplat.parts.composers.domain_projections import DomainProjections
from clplat.retriever import ComposedRetriever
from clplat.testing import StrategyContract, TinyTowers, plain_loop, tiny_domains, tiny_retriever
from clplat.testing.checks import trainable, weights
from strategies import GrowingComposer


class TestGrowingComposer(StrategyContract):
    def make(self) -> GrowingComposer:
        return GrowingComposer()

    def _retriever(self) -> ComposedRetriever:
        return tiny_retriever(composer=DomainProjections(context=1))


def test_each_domain_adds_projections_and_leaves_those_before() -> None:
    strategy, model = GrowingComposer(), tiny_retriever(composer=DomainProjections(context=1))
    plain_loop(strategy, model, tiny_domains()[:1], steps=2)
    first = {name: tensor for name, tensor in weights(model).items() if ".0" in name and "composer" in name}
    plain_loop(strategy, model, tiny_domains()[1:], steps=2)
    after = weights(model)
    assert len(first) == 5 and all(torch.equal(after[name], tensor) for name, tensor in first.items())
    assert not set(first) & set(trainable(model))
    assert float(after["composer.pictures.1.weight"].abs().max()) > 0


def test_it_needs_a_retriever_and_trains_on_a_composer_that_does_not_grow() -> None:
    with pytest.raises(UserError, match="needs a ComposedRetriever"):
        plain_loop(GrowingComposer(), TinyTowers())
    model = tiny_retriever()
    names = set(trainable(model))
    plain_loop(GrowingComposer(), model, steps=1)
    assert set(trainable(model)) == names
