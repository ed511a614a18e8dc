"""A strategy in any Avalanche template: it is a plugin."""

from __future__ import annotations

from clplat.integrations import library

library("avalanche")

from clplat.training.plugin import AvalancheLearner, StrategyPlugin  # noqa: E402

__all__ = ["AvalancheLearner", "StrategyPlugin"]
