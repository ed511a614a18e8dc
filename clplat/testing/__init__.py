"""Contract tests for parts, ours or yours: subclass one, override ``make``, let pytest run it.

    from clplat.testing import StrategyContract
    from my_package import MyStrategy

    class TestMyStrategy(StrategyContract):
        def make(self):
            return MyStrategy()

The tests need pytest to run, and nothing to import. They share one tiny world, see `clplat.testing.tiny`.
"""

from __future__ import annotations

from clplat.testing.strategies import StrategyContract
from clplat.testing.tiny import (
    TinyTowers,
    plain_loop,
    tiny_backbone,
    tiny_collate,
    tiny_domains,
    tiny_loss,
    tiny_retriever,
)

__all__ = [
    "StrategyContract",
    "TinyTowers",
    "plain_loop",
    "tiny_backbone",
    "tiny_collate",
    "tiny_domains",
    "tiny_loss",
    "tiny_retriever",
]
