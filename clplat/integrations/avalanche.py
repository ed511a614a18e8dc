"""A strategy in any Avalanche template: it is a plugin."""

from __future__ import annotations

from clplat.extras import named_extras

with named_extras("an Avalanche plugin"):
    from clplat.training.plugin import AvalancheLearner, StrategyPlugin

__all__ = ["AvalancheLearner", "StrategyPlugin"]
