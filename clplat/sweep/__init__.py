"""Sweeps: what is compared, how it is tuned, how it is run and what came out."""

from __future__ import annotations

from clplat.sweep.plan import DEFAULT_STRATEGIES, Budget, Sweep, read_sweep

__all__ = ["DEFAULT_STRATEGIES", "Budget", "Sweep", "read_sweep"]
