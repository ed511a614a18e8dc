"""Naive is a plain loop: nothing is added, kept or protected."""

from __future__ import annotations

import torch

from clplat.testing import TinyTowers, plain_loop, tiny_collate, tiny_domains, tiny_loss
from clplat.testing.checks import difference, weights
from strategies import Naive


def test_it_is_sequential_fine_tuning() -> None:
    strategy, model, plain = Naive(), TinyTowers(), TinyTowers()
    history = plain_loop(strategy, model, steps=3)
    assert all(set(terms) == {"task"} for terms in history) and len(history) == 6

    optimizer = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for domain in tiny_domains():
        for step in range(3):
            batch = tiny_collate()([domain.train[8 * step + k] for k in range(8)])
            optimizer.zero_grad()
            tiny_loss(batch, plain(batch)).backward()
            optimizer.step()
    assert not difference(weights(model), weights(plain))
    assert strategy.state_dict() == {} and strategy.memory_bytes() == 0
