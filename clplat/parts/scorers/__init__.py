"""Scorers: how much an item of the gallery answers a query."""

from __future__ import annotations

from clplat.registry import exports

__getattr__, __dir__ = exports(__name__)
