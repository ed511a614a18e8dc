"""Adapters: ways to change a backbone a little."""

from __future__ import annotations

from clplat.registry import exports

__getattr__, __dir__ = exports(__name__)
